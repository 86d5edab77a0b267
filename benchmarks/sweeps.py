"""FGSM and PGD sweeps on ResNet-18 against the loops written with other libraries.

Same model, images, threads, batches and outputs: the clean score and one score per eps. The harness
moreover checks budgets, scores 8-bit images and measures distances. It runs under the rules for
freed memory that its command sets, the others under the usual ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from unittest.mock import patch

import torch
from rivals import loops
from subject import BATCH, regressor_of, run, side_of, sweep_of
from timing import Laps, Meter, Row, at_least, at_most, main, now, race, ratio
from torch import Tensor

from iqabench.allocation import KEEPING, USUAL
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
    contestants: dict[str, Callable[[], object]] = {"usual memory": USUAL.apply}
    rivals = loops(plain, images, side.mos, BATCH, steps)
    for name, loop in rivals.items():
        contestants[name] = partial(_note, scores, name, partial(loop, radii))
    overheads: dict[str, Callable[[], float]] = {}
    contestants["our memory"] = partial(_settle_memory, plain, images)
    for speed in SPEEDS:
        ours = regressor_of("resnet", backbone, speed)
        contestants[speed] = partial(
            _note, scores, speed, partial(_ours, ours, side, spec, eps_255)
        )
        contestants[f"bound {speed}"] = partial(_bare, ours, images, len(eps_255), steps)
        overheads[speed] = partial(_overhead, ours, side, spec, eps_255, repeats)
    laps = race(contestants, repeats)
    how = _how(side)
    return [
        *_ratios(what, steps, laps, list(rivals), how),
        *_shares(what, laps, overheads, how),
        *_differences(what, steps, scores, list(rivals)),
    ]


def _alone(
    what: str, spec: str, eps_255: list[float], side: Side, backbone: str, repeats: int
) -> list[Row]:
    """Return the harness's share beside a network without rivals."""
    network = regressor_of("resnet", backbone, "exact")
    images = side.pixels.centre_crops(range(len(side)), side.geometry.crop)
    contestants: dict[str, Callable[[], object]] = {
        "our memory": partial(_settle_memory, network, images),
        "exact": partial(_ours, network, side, spec, eps_255),
        "bound exact": partial(_bare, network, images, len(eps_255), 0),
    }
    overheads: dict[str, Callable[[], float]] = {
        "exact": partial(_overhead, network, side, spec, eps_255, repeats)
    }
    return _shares(what, race(contestants, repeats), overheads, _how(side))


def _how(side: Side) -> str:
    return f"{len(side)} images, {side.geometry.crop} px, batches of {BATCH}"


def _ratios(what: str, steps: int, laps: Laps, rivals: list[str], how: str) -> list[Row]:
    rows = []
    for speed in SPEEDS:
        for name in rivals:
            goal, times = 1.2 if steps else 3.0, ratio(laps, name, speed)
            rows.append(at_least(f"{what}, {speed}, over {name}", goal, times, how))
    return rows


def _shares(
    what: str, laps: Laps, overheads: dict[str, Callable[[], float]], how: str
) -> list[Row]:
    rows = []
    for speed, overhead in overheads.items():
        share = ratio(laps, f"bound {speed}", speed)
        bound, outside = "the fewest passes, no harness", "seconds outside of network and gradient"
        rows += [
            at_least(f"{what}, {speed}, share of the bound", 0.9, share, f"{bound}; {how}"),
            at_most(
                f"{what}, {speed}, harness overhead", 5, 100 * overhead(), f"{outside}; {how}", "%"
            ),
        ]
    return rows


def _overhead(
    regressor: Regressor, side: Side, spec: str, eps_255: list[float], repeats: int
) -> float:
    """Return the share of a sweep's seconds that is not the network's; the median of rounds.

    It is measured inside of one sweep: as a difference of two, it drowns in what they vary by.
    """
    meter, shares = Meter(), []
    backward: Callable[..., object] = torch.autograd.grad
    with (
        patch.object(torch.autograd, "grad", meter.around(backward)),
        patch.object(regressor, "logit", meter.around(regressor.logit)),
    ):
        for _ in range(repeats):
            meter.seconds, began = 0.0, now()
            _ours(regressor, side, spec, eps_255)
            shares.append(1 - meter.seconds / (now() - began))
    return median(shares)


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


def _settle_memory(regressor: Regressor, images: Tensor) -> None:
    """Let freed memory be used again, as ``iqabench`` does, and let there be some."""
    KEEPING.apply()
    _bare(regressor, images, 1, 0)


def _bare(regressor: Regressor, images: Tensor, radii: int, steps: int) -> None:
    """Make the fewest passes that a sweep can do with: gradients, and scores of its ends.

    Radii share the first gradient, whose own forward gives the clean scores.
    """
    gradients = radii * (steps - 1) + 1 if steps else 1
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        for _ in range(gradients):
            pixels = batch.detach().requires_grad_()
            torch.autograd.grad(regressor(pixels).sum(), pixels)
        with torch.no_grad():
            for _ in range(radii):
                regressor(batch)


if __name__ == "__main__":
    main(measure, __doc__, quick={"images": 4, "size": 96}, repeats=5)
