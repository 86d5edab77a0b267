"""Figure 5: how strongly the channels of a layer respond, natural against adversarial."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from iqabench.contracts.backbone import Backbone
from iqabench.contracts.regressor import Regressor
from iqabench.errors import CellError, DataError, IncompatibleError, did_you_mean
from iqabench.figures.subject import Subject
from iqabench.progress import Counter, unseen
from iqabench.sides import Side


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
        moved: Mean over images of how far the channel's mean over positions moved, without its
            sign: moves in opposite directions do not cancel.
        scores: Mean score before and after the attack.
        score_moved: Mean over images of how far the score moved, without its sign.
    """

    defense: str
    layer: str
    images: int
    order: tuple[int, ...]
    natural: tuple[float, ...]
    adversarial: tuple[float, ...]
    moved: tuple[float, ...]
    scores: tuple[float, float]
    score_moved: float


class Recorder:
    """Means over positions of what a module puts out, a row for every image it is asked about.

    A module that is asked several times per pass (several draws, several views) gives a row for
    every one of them.
    """

    def __init__(self) -> None:
        self._rows: list[Tensor] = []

    @contextlib.contextmanager
    def of(self, module: nn.Module) -> Iterator[None]:
        """Take in every output of ``module`` while the block runs."""
        handle = module.register_forward_hook(lambda _module, _inputs, output: self._add(output))
        try:
            yield
        finally:
            handle.remove()

    def rows(self) -> Tensor:
        """Return the rows in the order of the calls, ``(R, C)``, float64 on the CPU.

        Raises:
            CellError: The module was never asked.
        """
        if not self._rows:
            raise CellError("the layer took no part in the pass, so it has no activations")
        return torch.cat(self._rows)

    def _add(self, output: Tensor) -> None:
        # In float64, which not every device has.
        self._rows.append(output.detach().float().mean((2, 3)).cpu().double())


class Comparison:
    """Sums over the rows of a natural pass and of its attacked twin, in constant memory."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None
        self._count = 0

    def add(self, natural: Tensor, adversarial: Tensor) -> None:
        """Take in two passes over the same images with the same noise.

        Raises:
            CellError: One of them asked the layer more often, so rows are no pairs.
        """
        if natural.shape != adversarial.shape:
            raise CellError("the layer was not asked as often under attack, so there are no pairs")
        sums = torch.stack(
            [natural.sum(0), adversarial.sum(0), (adversarial - natural).abs().sum(0)]
        )
        self._sums = sums if self._sums is None else self._sums + sums
        self._count += len(natural)

    def means(self) -> Tensor:
        """Return natural mean, adversarial mean and mean absolute move per channel, ``(3, C)``."""
        assert self._sums is not None
        return self._sums / self._count


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


def compare_channels(
    subject: Subject,
    side: Side,
    layer: str | None,
    eps_255: float,
    progress: Counter = unseen,
) -> Channels:
    """Return the mean activations of a layer on natural images and on their attacked twins.

    Args:
        subject: The defense and the attack.
        side: The images, with labels.
        layer: Path of the layer; None for the last one.
        eps_255: Radius in grey levels.
        progress: Told of images that are done.

    Raises:
        BudgetError: The attack left the ball or the pixel range.
        CellError: The defense or the attack failed.
    """
    path, module = find_layer(subject.regressor, layer)
    compared = Comparison()
    totals = torch.zeros(3, dtype=torch.float64)
    sweep = subject.sweep(side, eps_255)
    for clean, adversarial, numbers in sweep.attacked(eps_255):
        rows, scores = [], []
        for images in (clean, adversarial):
            recorder = Recorder()
            with recorder.of(module):
                scored = subject.scores(side, images, numbers)
            rows.append(recorder.rows())
            scores.append(scored.scores.double())
        compared.add(*rows)
        before, after = scores
        totals += torch.stack([before.sum(), after.sum(), (after - before).abs().sum()])
        progress(numbers[-1] + 1, len(side))
    natural, attacked, moved = compared.means()
    order = torch.argsort(natural.abs(), descending=True, stable=True)
    score_before, score_after, score_moved = (totals / len(side)).tolist()
    return Channels(
        subject.label,
        path,
        len(side),
        tuple(order.tolist()),
        tuple(natural[order].tolist()),
        tuple(attacked[order].tolist()),
        tuple(moved[order].tolist()),
        (score_before, score_after),
        score_moved,
    )


def channels_table(channels: Channels) -> list[list[object]]:
    """Return the numbers of the figure: a header and one row per channel, in the figure's order."""
    table: list[list[object]] = [["place", "channel", "natural", "adversarial", "moved"]]
    rows = zip(channels.order, channels.natural, channels.adversarial, channels.moved, strict=True)
    for place, row in enumerate(rows, start=1):
        table.append([place, *row])
    return table
