"""Whether a measured cell was made under the conditions of a published one. Reads results only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from iqabench.leaderboard.load import Board, Cell, Entry, Group
from iqabench.published.paper import Paper, Place, RecipeFacts
from iqabench.published.patterns import Match, match
from iqabench.results import CLEAN

SIZES = ("resize", "crop")
OTHER_DATA = "data set"


@dataclass(frozen=True, eq=False)
class Measured:
    """A finished cell with the row and data set it belongs to."""

    group: Group
    entry: Entry
    cell: Cell

    @property
    def about(self) -> dict[str, Any]:
        """What stands beside the cell's numbers."""
        return self.cell.record.about

    @property
    def dataset(self) -> str:
        """Name of the data set, with parameters that are not the defaults."""
        return str(self.cell.record.cell["dataset"]["name"])

    @property
    def attack(self) -> str:
        """Short name of the attack, or ``clean``."""
        return CLEAN if self.cell.attack == CLEAN else self.group.attacks[self.cell.attack]


@dataclass(frozen=True)
class Difference:
    """A condition that differs.

    Attributes:
        condition: One of the conditions of docs/comparing.md.
        text: What is different, for people.
    """

    condition: str
    text: str


@dataclass(frozen=True, eq=False)
class Check:
    """A measured cell of a published method under a published attack.

    Attributes:
        measured: The cell.
        differences: Conditions that differ, in the order of docs/comparing.md; if there is none,
            the two are comparable.
        left_open: What the paper does not say, as it was here.
    """

    measured: Measured
    differences: tuple[Difference, ...]
    left_open: tuple[str, ...]

    @property
    def distance(self) -> tuple[bool, int]:
        """Orders checks by how far they are from comparable."""
        return any(d.condition == OTHER_DATA for d in self.differences), len(self.differences)


def finished(board: Board) -> list[Measured]:
    """Return every finished cell of a run, rows in the order of the leaderboard."""
    return [
        Measured(group, entry, cell)
        for group in board.groups
        for entry in group.entries
        for cell in entry.cells
        if cell.is_done
    ]


def check(paper: Paper, place: Place, measured: Measured) -> Check | None:
    """Compare every condition of a measured cell with those of a published place.

    Returns:
        None where it is another method (or a parameter that the file names has another value),
        another attack, or another data set of the paper's: then the cell says nothing about the
        place.
    """
    method, attack = paper.methods[place.method], paper.attacks[place.attack]
    cell, about = measured.cell.record.cell, measured.about
    defenses = _matches(method.defense, str(cell["defense"]["spec"]), str(about["defense"]))
    defense = _closest(found for found in defenses if found.has_named)
    attacked = _closest(_matches(attack.attack, measured.cell.attack, str(about["attack"])))
    if defense is None or attacked is None or _belongs_elsewhere(paper, place, measured.dataset):
        return None
    differences: list[Difference] = []
    left_open: list[str] = []
    _check_data(paper, place, measured, differences, left_open)
    _check_recipe(paper.recipe_of(place.table), measured, differences, left_open)
    _check_network(paper, method.backbone, about, differences, left_open)
    differences += [Difference("defense", f"defense: {m}") for m in defense.mismatches]
    objective = sorted(attacked.mismatches, key=lambda m: m.parameter != "objective")
    differences += [
        Difference("objective" if m.parameter == "objective" else "attack", f"attack: {m}")
        for m in objective
    ]
    eps, wanted = measured.cell.eps_255, attack.eps_255 or 0.0
    if eps != wanted:
        differences.append(Difference("eps", f"eps {eps:g}/255, not {wanted:g}/255"))
    left_open += [f"defense {text}" for text in defense.left_open]
    left_open += [f"attack {text}" for text in attacked.left_open]
    if len(attack.attack) > 1:
        left_open.append(f"attack read as {measured.attack}")
    return Check(measured, tuple(differences), tuple(left_open))


def _belongs_elsewhere(paper: Paper, place: Place, name: str) -> bool:
    """Say whether measured data are those of other columns of the paper."""
    own = paper.datasets[place.dataset].dataset
    others = (published.dataset for published in paper.datasets.values())
    return match(own, name, name) is None and any(match(one, name, name) for one in others)


def _matches(patterns: Iterable[str], canonical: str, label: str) -> Iterator[Match]:
    for pattern in patterns:
        found = match(pattern, canonical, label)
        if found is not None:
            yield found


def _closest(matches: Iterable[Match]) -> Match | None:
    return min(matches, key=lambda found: len(found.mismatches), default=None)


def _check_data(
    paper: Paper,
    place: Place,
    measured: Measured,
    differences: list[Difference],
    left_open: list[str],
) -> None:
    wanted, name = paper.datasets[place.dataset], measured.dataset
    found = match(wanted.dataset, name, name)
    if found is None:
        text = f"data set {name}, not {wanted.dataset}"
        differences.append(Difference(OTHER_DATA, text))
        return  # images and split of other data say nothing
    differences += [Difference(OTHER_DATA, f"data set: {m}") for m in found.mismatches]
    part, origin = measured.about.get("dataset_part"), measured.about.get("split_origin")
    if part is not None:
        differences.append(Difference("images", f"only {part}"))
    if wanted.split is None:
        left_open.append(f"split {origin}")
    elif origin is None or not str(origin).startswith(wanted.split):
        made = "not recorded" if origin is None else origin
        differences.append(Difference("split", f"split {made}, not {wanted.split}"))


def _check_recipe(
    facts: RecipeFacts, measured: Measured, differences: list[Difference], left_open: list[str]
) -> None:
    """Compare what the paper says about training with the numbers of the recipe, not its name."""
    dataset = measured.cell.record.cell["dataset"]
    settings = {**(measured.about.get("recipe_settings") or {})}
    settings |= {name: dataset[name] for name in SIZES}
    wrong: dict[str, list[str]] = {"size": [], "recipe": []}
    unknown: list[str] = []
    for name, wanted in facts:
        found = settings.get(name)
        if wanted is None:
            left_open += [] if found is None else [f"recipe {name}={_shown(found)}"]
        elif found is None:
            unknown.append(name)
        elif found != wanted:
            kind = "size" if name in SIZES else "recipe"
            wrong[kind].append(f"{name} is {_shown(found)}, not {_shown(wanted)}")
    if unknown:
        wrong["recipe"].append(f"{' and '.join(unknown)} not recorded")
    for kind, texts in wrong.items():
        if texts:
            differences.append(Difference(kind, f"{kind}: {', '.join(texts)}"))


def _check_network(
    paper: Paper,
    backbone: str | None,
    about: dict[str, Any],
    differences: list[Difference],
    left_open: list[str],
) -> None:
    found = about["backbone"]
    if backbone is None:
        left_open.append(f"backbone {found}")
    elif found != backbone:
        differences.append(Difference("backbone", f"backbone {found}, not {backbone}"))
    weights = about.get("backbone_weights")
    start = "nothing" if weights == "none" else "a file" if "sha256" in (weights or {}) else "known"
    if weights is None:
        start = "somewhere that is not recorded"
    if paper.pretrained is None:
        left_open.append(f"started from {'ImageNet' if start == 'known' else start}")
    elif weights is None or paper.pretrained != (weights != "none"):
        wanted = "ImageNet" if paper.pretrained else "nothing"
        start = "ImageNet" if start == "known" else start
        differences.append(
            Difference("starting weights", f"started from {start}, not from {wanted}")
        )
    elif start == "a file":
        left_open.append("started from a weights file")


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
