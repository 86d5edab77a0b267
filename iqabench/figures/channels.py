"""Figure 5: how strongly the channels of a layer respond, natural against adversarial."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from iqabench.contracts.backbone import Backbone
from iqabench.contracts.regressor import Regressor
from iqabench.data import Side
from iqabench.errors import CellError, DataError, IncompatibleError, did_you_mean
from iqabench.figures.subject import Subject
from iqabench.scoring import score


@dataclass(frozen=True)
class Channels:
    """Mean activations of one layer.

    Attributes:
        defense: The defense.
        layer: Path of the layer.
        images: Over how many images the means go.
        order: Channel numbers, the largest natural magnitude first.
        natural: Mean over images and positions, in that order.
        adversarial: The same on attacked images, in the natural order.
        scores: Mean score before and after the attack.
    """

    defense: str
    layer: str
    images: int
    order: tuple[int, ...]
    natural: tuple[float, ...]
    adversarial: tuple[float, ...]
    scores: tuple[float, float]


class Means:
    """Means over images and positions of what a module puts out, in constant memory.

    A module that is asked several times per pass (several draws, several views) is averaged over
    all of them.
    """

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.count = 0

    @contextlib.contextmanager
    def of(self, module: nn.Module) -> Iterator[None]:
        """Take in every output of ``module`` while the block runs."""
        handle = module.register_forward_hook(lambda _module, _inputs, output: self._add(output))
        try:
            yield
        finally:
            handle.remove()

    def values(self) -> Tensor:
        """Return the mean of every channel, float64 on the CPU.

        Raises:
            CellError: The module was never asked.
        """
        if self.total is None:
            raise CellError("the layer took no part in the pass, so it has no activations")
        return self.total / self.count

    def _add(self, output: Tensor) -> None:
        # Sums in float64, which not every device has.
        means = output.detach().float().mean((2, 3)).cpu().double().sum(0)
        self.total = means if self.total is None else self.total + means
        self.count += len(output)


def find_layer(regressor: Regressor, path: str | None) -> tuple[str, nn.Module]:
    """Return a named activation of the backbone inside a regressor, the last one for None.

    Where a defense has replaced the activation, this is what stands in its place.

    Raises:
        IncompatibleError: There is no backbone inside.
        DataError: No activation has that path; says which there are.
    """
    backbone = next((m for m in regressor.modules() if isinstance(m, Backbone)), None)
    if backbone is None or not backbone.sites:
        raise IncompatibleError(
            f"{type(regressor).__name__} has no backbone with named activations inside"
        )
    paths = [site.path for site in backbone.sites]
    wanted = paths[-1] if path is None else path
    if wanted not in paths:
        raise DataError(
            f"unknown layer {wanted!r} of {backbone.name}.{did_you_mean(wanted, paths)}"
            f" There are: {', '.join(paths)}"
        )
    return wanted, backbone.get_submodule(wanted)


def compare_channels(subject: Subject, side: Side, layer: str | None, eps_255: float) -> Channels:
    """Return the mean activations of a layer on natural images and on their attacked twins.

    Args:
        subject: The defense and the attack.
        side: The images, with labels.
        layer: Path of the layer; None for the last one.
        eps_255: Radius in grey levels.

    Raises:
        BudgetError: The attack left the ball or the pixel range.
        CellError: The defense or the attack failed.
    """
    path, module = find_layer(subject.regressor, layer)
    before, after = Means(), Means()
    totals = [0.0, 0.0]
    conditions = subject.conditions
    sweep = subject.sweep(side, eps_255)
    for clean, adversarial, numbers in sweep.attacked(eps_255):
        noise = side.noise(conditions.seed, numbers, "score")
        for k, (means, images) in enumerate(((before, clean), (after, adversarial))):
            with means.of(module):
                scored = score(subject.regressor, images, noise, conditions.score_draws)
            totals[k] += float(scored.scores.double().sum())
    natural, adversarial_means = before.values(), after.values()
    order = torch.argsort(natural.abs(), descending=True, stable=True)
    return Channels(
        subject.label,
        path,
        len(side),
        tuple(order.tolist()),
        tuple(natural[order].tolist()),
        tuple(adversarial_means[order].tolist()),
        (totals[0] / len(side), totals[1] / len(side)),
    )


def channels_table(channels: Channels) -> list[list[object]]:
    """Return the numbers of the figure: a header and one row per channel, in the figure's order."""
    table: list[list[object]] = [["place", "channel", "natural", "adversarial"]]
    rows = zip(channels.order, channels.natural, channels.adversarial, strict=True)
    for place, (channel, natural, adversarial) in enumerate(rows, start=1):
        table.append([place, channel, natural, adversarial])
    return table
