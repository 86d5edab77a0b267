"""A page per defense: parameters, training, results, audits and figures on every data set."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iqabench.errors import SpecError
from iqabench.files import file_name, unique_file_name
from iqabench.leaderboard.fields import Number, estimate_number, minus
from iqabench.leaderboard.load import Board, Cell, Entry, Group
from iqabench.leaderboard.pictures import Album, PictureError, data_uri, read_png
from iqabench.leaderboard.rank import clean_measures, is_too_weak, measures_of, srocc_of
from iqabench.leaderboard.run_files import RunFiles
from iqabench.leaderboard.verdicts import AuditShown, audits_of, shown_audit
from iqabench.specs import parse

Facts = tuple[tuple[str, str], ...]
METRICS_SHOWN = ("srocc", "plcc", "rmse")


@dataclass(frozen=True)
class Result:
    """A cell as a line of the page.

    Attributes:
        attack: Its label; ``clean`` without attack.
        eps: Radius in grey levels.
        numbers: ``METRICS_SHOWN``; one word if it failed.
        rounded: SROCC after rounding to 8 bits; empty where not computed.
        own: SROCC through the defense's own gradient alone; empty where it has no other way.
        is_weak: Whether the attack is too weak to judge by.
        key: Key of the cell.
    """

    attack: str
    eps: str
    numbers: tuple[Number, ...]
    rounded: str
    own: str
    is_weak: bool
    key: str


@dataclass(frozen=True)
class Card:
    """A training card, for people; ``losses`` are the mean first loss of each epoch."""

    facts: Facts
    losses: tuple[float, ...]
    differs: bool


@dataclass(frozen=True)
class Part:
    """A defense on one data set, trained with one seed.

    Attributes:
        id: Of its heading.
        title: Its data set, and what tells it apart.
        group: Place of the data set in the board.
        entry: Place of the row in the group.
        is_reference: Whether it is undefended.
        facts: What it was made of.
        card: How it was trained; None where no card was kept.
        results: Its cells.
        figures: Names and addresses of pictures.
        remarks: What could not be shown.
    """

    id: str
    title: str
    group: int
    entry: int
    is_reference: bool
    facts: Facts
    card: Card | None
    results: tuple[Result, ...]
    figures: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """A defense: one canonical spec.

    Attributes:
        id: Anchor.
        title: Its short name.
        spec: Canonical.
        parameters: Every parameter of every component, outermost first.
        audits: Verdicts on it, on any data set.
        parts: One per data set, backbone, recipe and seed.
    """

    id: str
    title: str
    spec: str
    parameters: tuple[tuple[str, Facts], ...]
    audits: tuple[AuditShown, ...]
    parts: tuple[Part, ...]


def page_ids(board: Board) -> dict[str, str]:
    """Return the anchor of each defense's page by its canonical spec."""
    labels = {_spec(entry): str(entry.about["defense"]) for entry in board.entries}
    uses = Counter(file_name(label) for label in labels.values())
    return {
        spec: "defense-" + (name if uses[name] == 1 else unique_file_name(spec))
        for spec, label in labels.items()
        for name in [file_name(label)]
    }


def defense_pages(board: Board, files: RunFiles, album: Album) -> list[Page]:
    """Return the pages, by title.

    Args:
        board: All rows.
        files: What lies beside the cells.
        album: Counts the bytes of the figures that are embedded.
    """
    ids = page_ids(board)
    parts: dict[str, list[Part]] = defaultdict(list)
    audits: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    titles: dict[str, str] = {}
    for number, group in enumerate(board.groups):
        for place, entry in enumerate(group.entries):
            spec = _spec(entry)
            titles.setdefault(spec, str(entry.about["defense"]))
            new = (a for a in audits_of(entry, files.audits) if a not in audits[spec])
            audits[spec].extend(new)
            anchor = f"{ids[spec]}-{len(parts[spec]) + 1}"
            parts[spec].append(_part(anchor, group, entry, (number, place), files, album))
    pages = [
        Page(
            ids[spec],
            titles[spec],
            spec,
            _parameters(spec),
            tuple(shown_audit(audit) for audit in audits[spec]),
            tuple(found),
        )
        for spec, found in parts.items()
    ]
    return sorted(pages, key=lambda page: (page.title, page.spec))


def _spec(entry: Entry) -> str:
    return str(entry.identity["defense"]["spec"])


def _parameters(spec: str) -> tuple[tuple[str, Facts], ...]:
    try:
        parts = parse(spec)
    except SpecError:  # of a plugin, or of another time
        return ()
    return tuple(
        (part.name, tuple((a.key or "first argument", a.value) for a in part.arguments))
        for part in parts
    )


def _part(
    anchor: str,
    group: Group,
    entry: Entry,
    place: tuple[int, int],
    files: RunFiles,
    album: Album,
) -> Part:
    details = [group.title, *([entry.label] if entry.label != entry.about["defense"] else [])]
    figures, remarks = _figures(entry, files, album)
    return Part(
        anchor,
        ": ".join(details),
        place[0],
        place[1],
        entry.is_reference,
        tuple(_facts(entry)),
        _card(entry, files.cards),
        tuple(_result(group, entry, cell) for cell in entry.cells),
        figures,
        remarks,
    )


def _facts(entry: Entry) -> Iterator[tuple[str, str]]:
    about, identity = entry.about, entry.identity
    yield "backbone", str(about["backbone"])
    weights = about.get("backbone_weights")
    if weights is not None:
        named = weights.items() if isinstance(weights, Mapping) else [("", weights)]
        yield "starting weights", ", ".join(f"{name} {value}".strip() for name, value in named)
    yield "recipe", str(about["recipe"])
    settings = about.get("recipe_settings")
    if isinstance(settings, Mapping):
        yield "recipe settings", ", ".join(f"{k} {settings[k]}" for k in sorted(settings))
    yield "recipe key", str(about["recipe_key"])
    yield "weights (SHA-256)", str(identity["defense"]["weights_sha256"])
    yield "components", ", ".join(map(str, identity["defense"]["components"])) or "not recorded"
    yield "seed", str(entry.seed)
    yield "draws per score", str(identity["score_draws"])
    clean = clean_measures(entry)
    if clean is not None:
        numbers = ((name, estimate_number(found)) for name, found in clean.estimates.items())
        yield "without attack", "; ".join(f"{k} {n.text} ({n.interval})" for k, n in numbers)


def _card(entry: Entry, cards: Mapping[str, dict[str, Any]]) -> Card | None:
    card = cards.get(str(entry.about["recipe_key"]))
    if card is None:
        return None
    names = ("images", "epochs", "seconds", "weights_sha256")
    losses = card.get("losses")
    values = losses if isinstance(losses, list) else []
    numbers = tuple(float(v) for v in values if isinstance(v, int | float))
    facts = [(name.replace("_", " "), str(card[name])) for name in names if name in card]
    if numbers:
        facts.append(("loss, first and last epoch", f"{numbers[0]:.4g}, {numbers[-1]:.4g}"))
    facts += _flat(card.get("environment"))
    own = entry.identity["defense"]["weights_sha256"]
    return Card(tuple(facts), numbers, card["weights_sha256"] != own)


def _flat(versions: object) -> list[tuple[str, str]]:
    if not isinstance(versions, Mapping):
        return []
    return [("made with", ", ".join(f"{k} {versions[k]}" for k in sorted(versions)))]


def _result(group: Group, entry: Entry, cell: Cell) -> Result:
    record, label = cell.record, group.attacks.get(cell.attack, cell.attack)
    measures = measures_of(cell)
    numbers: tuple[Number, ...] = (Number("failed", note=record.error or ""),)
    if measures is not None:
        numbers = tuple(estimate_number(measures.estimates[name]) for name in METRICS_SHOWN)
    attacked = cell.attack in group.attacks
    weak = attacked and is_too_weak(group, entry, cell.attack, cell.eps_255) is True
    return Result(
        label,
        f"{cell.eps_255:g}",
        numbers,
        _short(srocc_of(record.metrics_8bit)),
        _short(srocc_of(record.metrics_nonadaptive)),
        weak and measures is not None,
        record.key,
    )


def _short(value: float | None) -> str:
    return "" if value is None else minus(f"{value:.3f}")


def _figures(
    entry: Entry, files: RunFiles, album: Album
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    found, remarks = [], []
    for run, name in files.figures_of(entry):
        try:
            data, _ = read_png(run, name)
        except PictureError as e:
            remarks.append(str(e))
            continue
        if album.add([data]) is None:
            remarks.append(f"{name} is left out: the page holds enough pictures.")
        else:
            found.append((Path(name).stem, data_uri(data)))
    return tuple(found), tuple(remarks)
