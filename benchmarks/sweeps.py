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
from iqabench.folding import Speed
from iqabench.sides import Side

FGSM_EPS = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
PGD_EPS = [1.0, 2.0, 4.0, 8.0]
SPEEDS: tuple[Speed, ...] = ("exact", "folded")


def measure(
    repeats: int, *, images: int = 16, size: int = 224, backbone: str = "resnet18"
) -> list[Row]:
    """Return the rows of both sweeps, and of the harness's share beside a larger network."""
    side, few = side_of(images, size), side_of(max(1, images // 4), size)
    fgsm, rounds = "fgsm:objective=reflect", max(1, repeats // 2)
    pgd = "pgd:objective=reflect,steps=10"
    larger = "resnet50" if backbone == "resnet18" else backbone
    return [
        *_contest("FGSM, 6 eps", fgsm, FGSM_EPS, 0, side, backbone, repeats),
        *_contest("PGD-10, 4 eps", pgd, PGD_EPS, 10, few, backbone, rounds),
        *_alone(f"FGSM, 6 eps, {larger}", fgsm, FGSM_EPS, few, larger, rounds),
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
        passes = partial(_bare, ours, images, len(eps_255), steps)
        contestants[f"bound {speed}"] = partial(passes, clean=False)
        if steps:  # a single step's clean scores come out of its gradient's own forward
            contestants[f"passes {speed}"] = partial(passes, clean=True)
    seconds = race(contestants, repeats)
    how = _how(side)
    return [
        *_ratios(what, steps, seconds, list(rivals), how),
        *_shares(what, seconds, how),
        *_differences(what, steps, scores, list(rivals)),
    ]


def _alone(
    what: str, spec: str, eps_255: list[float], side: Side, backbone: str, repeats: int
) -> list[Row]:
    """Return the harness's share beside a network without rivals."""
    network = regressor_of("resnet", backbone, "exact")
    images = side.pixels.centre_crops(range(len(side)), side.geometry.crop)
    contestants: dict[str, Callable[[], object]] = {
        "exact": partial(_ours, network, side, spec, eps_255),
        "bound exact": partial(_bare, network, images, len(eps_255), 0, clean=False),
    }
    return _shares(what, race(contestants, repeats), _how(side))


def _how(side: Side) -> str:
    return f"{len(side)} images, {side.geometry.crop} px, batches of {BATCH}"


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
    for speed in (s for s in SPEEDS if s in seconds):
        bound = seconds[f"bound {speed}"]
        same = seconds.get(f"passes {speed}", bound)
        rows += [
            at_least(
                f"{what}, {speed}, share of the bound",
                0.9,
                bound / seconds[speed],
                f"clean scores out of the gradient's own forward, no harness; {how}",
            ),
            at_most(
                f"{what}, {speed}, harness overhead",
                5,
                100 * (1 - same / seconds[speed]),
                f"the same passes, no harness; {how}",
                "%",
            ),
        ]
    return rows


def _differences(what: str, steps: int, scores: dict[str, Tensor], rivals: list[str]) -> list[Row]:
    """Return how far the scores of attacked images are from those of ``exact``, with no goal.

    A sign that flips where a gradient is nearly zero moves them by more than rounding.
    """
    kept = "the loops keep the last step, the harness the best" if steps else "one step each"
    return [
        Row(
            f"{what}, largest difference of an attacked score, {name} to exact",
            "none",
            float((scores[name] - scores["exact"]).abs().max()),
            "",
            None,
            kept if name in rivals else "the same steps",
        )
        for name in scores
        if name != "exact"
    ]


def _note(scores: dict[str, Tensor], name: str, loop: Callable[[], Tensor]) -> None:
    scores[name] = loop()


def _ours(regressor: Regressor, side: Side, spec: str, eps_255: list[float]) -> Tensor:
    sweep = sweep_of(spec, regressor, side)
    found = run(sweep, eps_255)
    columns = [torch.from_numpy(found[eps].columns.array("score")) for eps in eps_255]
    return torch.stack([sweep.clean.scores, *(c.float() for c in columns)])


def _bare(regressor: Regressor, images: Tensor, radii: int, steps: int, *, clean: bool) -> None:
    """Make the passes of a sweep: gradients, values of ends, scores; and clean scores or not."""
    gradients, forwards = (radii * steps, 2 * radii) if steps else (1, radii)
    forwards += clean
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
