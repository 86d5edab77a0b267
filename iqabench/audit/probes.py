"""What a regressor's gradient is worth, looked at directly: tests T5 to T7 of the audit.

An honest gradient predicts what a small step does; a shattered, vanished or lying one does not.
Each probe returns medians and quantiles over images, so that a few odd images decide nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from iqabench.contracts.ascent import per_image, pixel_gradient, value_of
from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Regressor
from iqabench.progress import Counter, counted, unseen

STEPS_255 = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Lengths of the steps of T5, in grey levels."""
NEAR_255 = 0.1
"""How far away the second gradient of T5 is taken, in grey levels."""
DIFFERENCES_255 = (0.001, 0.01, 0.1, 1.0)
"""Half widths of the finite differences of T7, in grey levels."""
SATURATED = 15.0
"""A logit beyond which the float32 sigmoid is flat to within 3e-7."""


@dataclass(frozen=True)
class Probes:
    """What the probes found.

    Attributes:
        linearity: T5: by step length in grey levels, the median over images of what a signed step
            takes from the logit, over what the gradient predicts: 1 is an honest gradient, near 0 a
            shattered one, below 0 a lying one.
        turning: T5: median cosine between the gradient at the image and a tenth of a grey level
            away.
        gradient_l1: T6: 5 %, 50 % and 95 % quantiles of the gradient's L1 norm (logit per unit).
        zero_gradients: T6: share of images whose gradient is exactly zero.
        saturated: T6: share of images whose logit is beyond ``SATURATED``.
        differences: T7: by half width in grey levels, the median over images of the finite
            difference along the gradient's signs over the gradient's own slope, in float64; None
            where the defense does not run in float64.
        images: How many images were looked at.
    """

    linearity: Mapping[float, float]
    turning: float
    gradient_l1: tuple[float, float, float]
    zero_gradients: float
    saturated: float
    differences: Mapping[float, float] | None
    images: int

    def to_json(self) -> dict[str, object]:
        """Return plain values; mappings have text keys."""
        plain = dict(vars(self))
        plain["gradient_l1"] = list(self.gradient_l1)
        for name in ("linearity", "differences"):
            if plain[name] is not None:
                plain[name] = {f"{step:g}": value for step, value in plain[name].items()}
        return plain


def probe(
    regressor: Regressor, batches: Sequence[tuple[Tensor, Noise]], progress: Counter = unseen
) -> Probes:
    """Return what a regressor's own gradient is worth on some images.

    Args:
        regressor: Frozen and in eval mode; a stochastic one as the expectation over its draws.
        batches: Images ``(N, 3, H, W)`` with their noise.
        progress: Told of batches that are done.
    """
    twin = _double(regressor)
    parts: dict[str, list[Tensor]] = {}
    for images, noise in counted(batches, progress):
        for name, values in _look(regressor, images, noise).items():
            parts.setdefault(name, []).append(values)
        if twin is not None:
            found = _differences(twin, images, noise)
            twin = None if found is None else twin
            for name, values in (found or {}).items():
                parts.setdefault(name, []).append(values)
    whole = {name: torch.cat(values) for name, values in parts.items()}
    norms = whole["norm"]
    quantiles = norms.quantile(norms.new_tensor([0.05, 0.5, 0.95])).tolist()
    return Probes(
        linearity={step: _median(whole[f"step {step}"]) for step in STEPS_255},
        turning=_median(whole["cosine"]),
        gradient_l1=(quantiles[0], quantiles[1], quantiles[2]),
        zero_gradients=float((norms == 0).double().mean()),
        saturated=float((whole["logit"].abs() > SATURATED).double().mean()),
        differences=None
        if twin is None
        else {width: _median(whole[f"width {width}"]) for width in DIFFERENCES_255},
        images=len(norms),
    )


def _logit(model: Regressor, images: Tensor, noise: Noise) -> Tensor:
    return model.logit(images, noise)


def _look(regressor: Regressor, images: Tensor, noise: Noise) -> dict[str, Tensor]:
    before, gradient = pixel_gradient(_logit, regressor, images, noise)
    norm = gradient.flatten(1).abs().sum(1)
    found = {"norm": norm, "logit": before}
    for step in STEPS_255:
        moved = images - step / 255 * gradient.sign()
        fallen = before - value_of(_logit, regressor, moved, noise)
        found[f"step {step}"] = _ratio(fallen, step / 255 * norm)
    signs = torch.where(noise.uniform("near", images.shape[1:], like=images) < 0.5, -1.0, 1.0)
    _, near = pixel_gradient(_logit, regressor, images + NEAR_255 / 255 * signs, noise)
    lengths = gradient.flatten(1).norm(dim=1) * near.flatten(1).norm(dim=1)
    found["cosine"] = _ratio((gradient * near).flatten(1).sum(1), lengths)
    return {name: values.double().cpu() for name, values in found.items()}


def _differences(twin: Regressor, images: Tensor, noise: Noise) -> dict[str, Tensor] | None:
    """Return finite differences along the gradient's signs over its slope there, in float64."""
    pixels = images.double()
    try:
        _, gradient = pixel_gradient(_logit, twin, pixels, noise)
        direction = gradient.sign()
        slope = gradient.flatten(1).abs().sum(1)
        found = {}
        for width in DIFFERENCES_255:
            move = per_image(torch.full_like(slope, width / 255)) * direction
            above = value_of(_logit, twin, pixels + move, noise)
            below = value_of(_logit, twin, pixels - move, noise)
            found[f"width {width}"] = _ratio(above - below, 2 * width / 255 * slope).cpu()
    except (RuntimeError, TypeError):  # a defense may hold float32 numbers of its own
        return None
    return found


def _double(regressor: Regressor) -> Regressor | None:
    try:
        return copy.deepcopy(regressor).double()
    except Exception:  # a plugin may hold what cannot be copied
        return None


def _ratio(found: Tensor, predicted: Tensor) -> Tensor:
    """Return found / predicted; zero where the gradient predicts nothing."""
    return torch.where(predicted > 0, found / predicted.where(predicted > 0, predicted + 1), 0.0)


def _median(values: Tensor) -> float:
    return float(values.median())
