"""Images that a run kept, scored by other defenses without attacking again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from iqabench.containment import contained
from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Regressor
from iqabench.errors import DataError, ResultsError
from iqabench.keeping import file_of, read_png
from iqabench.memory import Memory
from iqabench.metrics import agreement
from iqabench.models import Models
from iqabench.planning import Entry, Plan
from iqabench.progress import Reporter
from iqabench.results import CellRecord, find_cells, read_cell, read_columns
from iqabench.scoring import Scores, score


@dataclass(frozen=True, eq=False)
class Kept:
    """The images that one cell kept.

    Attributes:
        record: The cell.
        image_ids: The images.
        mos: Their labels.
        scenes: Their scenes.
        clean: Their files before the attack.
        attacked: Their files after it.
    """

    record: CellRecord
    image_ids: tuple[str, ...]
    mos: np.ndarray
    scenes: tuple[str | None, ...]
    clean: tuple[Path, ...]
    attacked: tuple[Path, ...]

    @property
    def dataset(self) -> str:
        """The data set, as people write it."""
        return str(self.record.cell["dataset"]["name"])

    @property
    def shown(self) -> str:
        """What it was made by, in a few words."""
        about, eps = self.record.about, self.record.cell["eps_255"]
        return f"{about['attack']} at {eps:g}/255 against {about['defense']}"


@dataclass(frozen=True, eq=False)
class Rescored:
    """What one defense says of the images of one cell.

    Attributes:
        kept: The images.
        entry: The defense that scored.
        weights_sha256: Hash of its weights.
        clean: Scores of the images before the attack.
        attacked: Scores after it.
    """

    kept: Kept
    entry: Entry
    weights_sha256: str
    clean: Scores
    attacked: Scores

    def agreement(self, scores: Scores) -> dict[str, object]:
        """Return how well scores agree with the labels, as cell files say it."""
        values, logits = scores.scores.double().numpy(), scores.logits.double().numpy()
        return agreement(self.kept.mos, values, logits, self.kept.scenes).to_json()

    @property
    def is_own(self) -> bool:
        """Whether the images were made on this very network."""
        made_on = self.kept.record.cell["defense"]
        own = (self.entry.chain.canonical, self.weights_sha256)
        return (made_on["spec"], made_on["weights_sha256"]) == own


def find_kept(run: Path) -> list[Kept]:
    """Return the kept images of every finished cell of a run.

    Raises:
        ResultsError: There are none, or a cell file or its columns are damaged.
    """
    found = []
    for path in find_cells(run):
        record = read_cell(path)
        if record.status == "done" and record.images:
            found.append(_kept(run, path, record))
    if not found:
        raise ResultsError(f"{run} keeps no attacked images; run it again with --save-images all")
    return found


def _kept(run: Path, path: Path, record: CellRecord) -> Kept:
    images = record.images or []
    table = read_columns(path, record)
    rows = {name: row for row, name in enumerate(table["image_id"])}
    ids = tuple(one["image_id"] for one in images)
    if unknown := [name for name in ids if name not in rows]:
        raise ResultsError(f"{path}: keeps {unknown[0]!r}, which is none of its images")
    places = [rows[name] for name in ids]
    return Kept(
        record,
        ids,
        np.array([table["mos"][place] for place in places]),
        tuple(table["scene"][place] for place in places),
        tuple(file_of(run, one["clean"]) for one in images),
        tuple(file_of(run, one["attacked"]) for one in images),
    )


def check_fits(kept: Sequence[Kept], plan: Plan) -> None:
    """See that the defenses of a plan may be asked about kept images.

    Raises:
        DataError: They see images of another size, or were trained on some of them.
    """
    for entry in plan.entries:
        for one in kept:
            if one.dataset != entry.data.name:
                continue
            made, own = one.record.cell["dataset"], entry.data.test.geometry
            if (made["resize"], made["crop"]) != (own.resize, own.crop):
                raise DataError(
                    f"the images of {one.shown} were resized to {made['resize']} and cut to"
                    f" {made['crop']} pixels, and {entry.chain.label} sees {own.resize} and"
                    f" {own.crop}; give the recipe of the run"
                )
            trained = set(entry.data.train.image_ids) if entry.chain.trains else set()
            if seen := trained & set(one.image_ids):
                raise DataError(
                    f"{entry.chain.label} was trained on {len(seen)} of the images of {one.shown},"
                    f" such as {min(seen)!r}; give the split of the run"
                )


def rescore(
    kept: Sequence[Kept], plan: Plan, models: Models, reporter: Reporter
) -> Iterator[Rescored]:
    """Yield what every defense of a plan says of every cell's images, training what is missing.

    Raises:
        CellError: A training failed, or a score is not finite.
        OutputError: A kept image is missing or damaged.
    """
    memory = Memory(say=reporter.say)
    for entry in plan.entries:
        checkpoint = models.checkpoint(entry.training)
        weights = checkpoint.card()["weights_sha256"]
        regressor = models.defended(entry.chain, entry.training, checkpoint)
        scorer = _Scorer(regressor, entry.seed, plan, models.device, memory)
        ours = [one for one in kept if one.dataset == entry.data.name]
        progress = reporter.counter(f"scoring kept images by {entry.shown}")
        for number, one in enumerate(ours, 1):
            with contained("the defense"):
                clean, attacked = (scorer.scores(one, files) for files in (one.clean, one.attacked))
            yield Rescored(one, entry, weights, clean, attacked)
            progress(number, len(ours))


@dataclass(frozen=True)
class _Scorer:
    regressor: Regressor
    seed: int
    plan: Plan
    device: torch.device
    memory: Memory

    def scores(self, kept: Kept, files: Sequence[Path]) -> Scores:
        """Return the scores of files, with the noise that a run scores the same images with."""
        size, draws = self.plan.benchmark.batch_size, self.plan.benchmark.score_draws

        def work(numbers: list[int]) -> Scores:
            pixels = np.stack([read_png(files[number]) for number in numbers])
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
            noise = Noise(self.seed, tuple(kept.image_ids[n] for n in numbers), scope="score")
            return score(self.regressor, images.to(self.device), noise, draws)

        parts = list(self.memory.batches(range(len(files)), size, work))
        return Scores(torch.cat([p.scores for p in parts]), torch.cat([p.logits for p in parts]))
