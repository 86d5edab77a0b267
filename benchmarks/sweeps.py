"""FGSM and PGD sweeps on ResNet-18 against the loops written with other libraries.

Same model, images, threads, batches and outputs: the clean score and one score per eps. The harness
moreover checks budgets, scores 8-bit images and measures distances.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from rivals import loops
from subject import BATCH, regressor_of, run, side_of, sweep_of
from timing import Row, at_least, at_most, main, race
from torch import Tensor

from iqabench.api import Regressor
from iqabench.data import Side
from iqabench.folding import Speed

FGSM_EPS = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
PGD_EPS = [1.0, 2.0, 4.0, 8.0]
SPEEDS: tuple[Speed, ...] = ("exact", "folded")


def measure(
    repeats: int, *, images: int = 16, size: int = 224, backbone: str = "resnet18"
) -> list[Row]:
    """Return the rows of both sweeps."""
    side = side_of(images, size)
    return [
        *_contest("FGSM, 6 eps", "fgsm:objective=reflect", FGSM_EPS, 0, side, backbone, repeats),
        *_contest(
            "PGD-10, 4 eps",
            "pgd:objective=reflect,steps=10",
            PGD_EPS,
            10,
            side_of(max(1, images // 4), size),
            backbone,
            max(1, repeats // 2),
        ),
    ]


def _contest(
    what: str,
    spec: str,
    eps_255: list[float],
    steps: int,
    side: Side,
    backbone: str,
    repeats: int,
) -> list[Row]:
    plain = regressor_of("resnet", backbone)
    images = side.pixels.centre_crops(range(len(side)), side.geometry.crop)
    radii = [eps / 255 for eps in eps_255]
    scores: dict[str, Tensor] = {}
    contestants: dict[str, Callable[[], object]] = {}
    rivals = loops(plain, images, side.mos, BATCH, steps)
    for name, loop in rivals.items():
        contestants[name] = partial(_note, scores, name, partial(loop, radii))
    for speed in SPEEDS:
        ours = regressor_of("resnet", backbone, speed)
        contestants[speed] = partial(
            _note, scores, speed, partial(_ours, ours, side, spec, eps_255)
        )
        contestants[f"bound {speed}"] = partial(_bare, ours, images, len(eps_255), steps)
    seconds = race(contestants, repeats)
    how = f"{len(side)} images, {side.geometry.crop} px, batches of {BATCH}"
    return [
        *_ratios(what, steps, seconds, list(rivals), how),
        *_shares(what, seconds, how),
        *_differences(what, steps, scores, list(rivals)),
    ]


def _ratios(
    what: str, steps: int, seconds: dict[str, float], rivals: list[str], how: str
) -> list[Row]:
    rows = []
    for speed in SPEEDS:
        for name in rivals:
            ratio = seconds[name] / seconds[speed]
            rows.append(
                at_least(f"{what}, {speed}, over {name}", 1.2 if steps else 3.0, ratio, how)
            )
    return rows


def _shares(what: str, seconds: dict[str, float], how: str) -> list[Row]:
    rows = []
    for speed in SPEEDS:
        share = seconds[f"bound {speed}"] / seconds[speed]
        bare = f"the same passes without a harness; {how}"
        rows += [
            at_least(f"{what}, {speed}, share of the bound", 0.9, share, bare),
            at_most(f"{what}, {speed}, harness overhead", 5, 100 * (1 - share), bare, "%"),
        ]
    return rows


def _differences(what: str, steps: int, scores: dict[str, Tensor], rivals: list[str]) -> list[Row]:
    exact = scores["exact"]
    rows = [
        at_most(
            f"{what}, largest difference of a score, {name}",
            1e-3 if name in rivals else 1e-5,
            float((scores[name] - exact).abs().max()),
            "to those of exact; the loops keep the last step, the harness the best"
            if steps and name in rivals
            else "to those of exact",
            "",
        )
        for name in scores
        if name != "exact"
    ]
    return rows


def _note(scores: dict[str, Tensor], name: str, loop: Callable[[], Tensor]) -> None:
    scores[name] = loop()


def _ours(regressor: Regressor, side: Side, spec: str, eps_255: list[float]) -> Tensor:
    sweep = sweep_of(spec, regressor, side)
    found = run(sweep, eps_255)
    columns = [torch.from_numpy(found[eps].columns.array("score")) for eps in eps_255]
    return torch.stack([sweep.clean.scores, *(c.float() for c in columns)])


def _bare(regressor: Regressor, images: Tensor, radii: int, steps: int) -> None:
    """Make the passes of a sweep: clean scores, gradients, values of ends, scores."""
    gradients, forwards = (radii * steps, 1 + 2 * radii) if steps else (1, 1 + radii)
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        for _ in range(gradients):
            pixels = batch.detach().requires_grad_()
            torch.autograd.grad(regressor(pixels).sum(), pixels)
        with torch.no_grad():
            for _ in range(forwards):
                regressor(batch)


if __name__ == "__main__":
    main(measure, __doc__, quick={"images": 4, "size": 96})
