"""What a figure shows: a trained defense, some images, and an attack that is ready."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from iqabench.clean import clean_scores
from iqabench.conditions import Conditions
from iqabench.containment import contained, shielded
from iqabench.contracts.attack import Attack, ObjectiveAttack
from iqabench.contracts.dataset import Row
from iqabench.contracts.objective import Facts
from iqabench.contracts.regressor import Regressor
from iqabench.data import OpenDataset
from iqabench.errors import DataError, did_you_mean
from iqabench.models import Models
from iqabench.pixels import hash_images, one_image
from iqabench.planning import Entry, Plan
from iqabench.progress import unseen
from iqabench.scoring import Scores, score
from iqabench.seeding import lent_rng
from iqabench.sides import Side
from iqabench.sweeping import Sweep


@dataclass(frozen=True)
class Subject:
    """One defense of a figure, trained, with what surrounds its attack.

    Attributes:
        entry: Defense, data set and seed.
        regressor: Frozen, in eval mode, on the device.
        attack: The attack, not yet prepared.
        sources: Trained regressors that a transfer attack starts from.
        conditions: Seeds, draws, batch size, device.
    """

    entry: Entry
    regressor: Regressor
    attack: Attack
    sources: dict[str, Regressor]
    conditions: Conditions

    @property
    def label(self) -> str:
        """The defense as people write it."""
        return self.entry.chain.label

    def scores(self, side: Side, images: Tensor, numbers: Sequence[int]) -> Scores:
        """Return the scores of images of a side after a change, as a run scores them."""
        noise = side.noise(self.conditions.seed, numbers, "score")
        with contained("the defense"):
            return score(self.regressor, images, noise, self.conditions.score_draws)

    def sweep(self, side: Side, eps_255: float) -> Sweep:
        """Return the attack on these images: prepared, fitted if need be, passed at eps 0.

        Args:
            side: The images that are shown.
            eps_255: Radius in grey levels, for attacks that are fitted.

        Raises:
            CellError: The defense gave no finite score, or the attack failed its check.
        """
        clean, _, _ = clean_scores(self.regressor, side, self.conditions, unseen)
        known = _by_image(side, clean)
        test = self.entry.data.test
        if side is not test and _looks_at_the_split(self.attack):
            whole, _, _ = clean_scores(self.regressor, test, self.conditions, unseen)
            known = _by_image(test, whole) | known
        mos, logits = zip(*known.values(), strict=True)
        with contained("the attack, being prepared,"):
            attack = self.attack.prepare(Facts(list(known), mos, logits, self.sources))
        sweep = Sweep(attack, self.regressor, side, clean, self.conditions)
        sweep.make_ready(self.entry.data.train, eps_255)
        return sweep


def subjects(plan: Plan, models: Models) -> Iterator[Subject]:
    """Find or train every defense of a plan, as a run does, and yield it with every attack.

    Raises:
        CellError: A training failed.
    """
    benchmark = plan.benchmark
    for entry in plan.entries:
        checkpoint = models.checkpoint(entry.training)
        regressor = models.defended(entry.chain, entry.training, checkpoint)
        conditions = Conditions(
            entry.seed,
            benchmark.score_draws,
            benchmark.attack_draws,
            benchmark.batch_size,
            models.device,
        )
        for attack in plan.attacks:
            found = models.sources(entry, attack.component)
            sources = {spec: source for spec, (_, source) in found.items()}
            yield Subject(entry, regressor, attack.component, sources, conditions)


def untrained(entry: Entry) -> Regressor:
    """Return a defense without its weights, to check names before any training."""
    with shielded(), lent_rng():
        return entry.chain.build(entry.training.backbone.build(with_weights=False))


def image_file(path: Path, data: OpenDataset) -> Side:
    """Return any image file as a side of one image, by the geometry of a data set's recipe.

    Its label is not known: NaN, until ``with_label`` gives one.

    Raises:
        UnreadableImagesError: The file is missing or no image.
    """
    hashes = hash_images([path])
    row = Row(path.name, path, float("nan"))
    pixels = one_image(path, resize=data.test.geometry.resize)
    return Side((row,), tuple(hashes), data.test.geometry, data.test.store, pixels)


def image_of(data: OpenDataset, image_id: str) -> Side:
    """Return one image of the test side.

    Raises:
        DataError: There is none of that name.
    """
    ids = data.test.image_ids
    if image_id not in ids:
        raise DataError(
            f"no image {image_id!r} among the {len(ids)} of the test side of {data.name}."
            f"{did_you_mean(image_id, ids)} Give an image_id of the data set's label file"
        )
    number = ids.index(image_id)
    test = data.test
    return Side((test.rows[number],), (test.hashes[number],), test.geometry, test.store)


def with_label(side: Side, subject: Subject, mos: float | None) -> tuple[Side, str]:
    """Return a side of one image with a label, and where the label is from.

    Args:
        side: One image.
        subject: Whose clean score is the label of an image that has none.
        mos: The label, in ``[0, 1]``, if the user gave one.
    """
    (row,) = side.rows
    if mos is not None:
        return replace(side, rows=(replace(row, mos=mos),)), "given"
    if row.mos == row.mos:
        return side, "data set"
    clean, _, _ = clean_scores(subject.regressor, side, subject.conditions, unseen)
    # A head without a sigmoid may leave the range that labels have.
    score = min(max(float(clean.scores[0]), 0.0), 1.0)
    return replace(side, rows=(replace(row, mos=score),)), "clean score"


def only_image(side: Side, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the image ``(1, 3, H, W)`` and the label ``(1,)`` of a side of one image."""
    images, mos, _ = next(side.batches(1))
    return images.to(device), mos.to(device)


def _by_image(side: Side, clean: Scores) -> dict[str, tuple[float, float]]:
    """Return label and clean logit of every image."""
    values = zip(side.mos.tolist(), clean.logits.tolist(), strict=True)
    return dict(zip(side.image_ids, values, strict=True))


def _looks_at_the_split(attack: Attack) -> bool:
    """Whether an attack may need labels and scores of images beside its own."""
    if not isinstance(attack, ObjectiveAttack):
        return True
    return attack.objective == "rank_reverse" or attack.threshold == "median"
