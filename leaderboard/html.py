"""``report.html``: one page that needs no network, no script and no other file."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from iqabench.files import canonical_json
from iqabench.leaderboard.curves import DARK, LIGHT, draw, to_svg
from iqabench.leaderboard.load import Board, Cell, Group
from iqabench.leaderboard.pages import environment
from iqabench.leaderboard.rank import (
    PER_IMAGE_WORST,
    WEAK_DROP,
    Lowest,
    Measures,
    Result,
    Row,
    Standing,
    clean_measures,
    standings,
)
from iqabench.leaderboard.statistics import Statistics, gather, notes
from iqabench.leaderboard.statistics_tables import Field, Table, tables
from iqabench.leaderboard.tables import remarks, standing_remarks
from iqabench.metrics import Estimate

TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class Number:
    """A table field: a number with its interval, or the word that stands for it."""

    text: str
    interval: str = ""
    is_weak: bool = False
    is_deciding: bool = False
    note: str = ""
    below: str = ""


@dataclass(frozen=True)
class Picture:
    """The curves of a group as data URIs for light and dark pages."""

    light: str
    dark: str


def to_html(board: Board) -> str:
    """Return the page; the same text whenever the cells are the same.

    Every label is escaped: names come from plugins and data sets of other people.
    """
    template = environment().get_template(TEMPLATE)
    return template.render(
        groups=[_group(statistics) for statistics in gather(board)],
        environments=_environments(board),
        several=len(board.groups) > 1,
        per_image_worst=PER_IMAGE_WORST,
        weak_drop=WEAK_DROP,
    )


def _group(statistics: Statistics) -> dict[str, Any]:
    group = statistics.group
    backbones = sorted({str(entry.about["backbone"]) for entry in group.entries})
    return {
        "slug": group.slug,
        "title": group.title,
        "proxy": group.proxy_labels,
        "sample": group.sample,
        "few_scenes": bool(group.sample and group.sample.few_scenes),
        "remarks": remarks(group),
        "backbones": backbones,
        "dataset": {name: str(value) for name, value in sorted(group.dataset.items())},
        "split": group.split,
        "standings": [_standing(group, standing) for standing in standings(group)],
        "picture": _picture(group),
        "tables": [_table(table) for table in tables(statistics)],
        "table_notes": notes(statistics),
        "entries": [_provenance(group, i) for i in range(len(group.entries))],
        "attacks": _attacks(group),
        "failures": [
            {
                "defense": entry.label,
                "attack": group.attacks.get(cell.attack, cell.attack),
                "eps": f"{cell.eps_255:g}",
                "error": cell.record.error or "no error was recorded",
                "key": cell.record.key,
            }
            for entry, cell in group.failures
        ],
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        **vars(table),
        "rows": [
            {
                "names": row.names,
                "is_reference": row.is_reference,
                "fields": [_field(field) for field in row.fields],
            }
            for row in table.rows
        ],
    }


def _field(field: Field) -> Number:
    if field.estimate is None:
        return Number("\N{EN DASH}")
    text, interval = _texts(field.estimate)
    return Number(text, interval, is_deciding=field.is_strong, below=_minus(field.small))


def _standing(group: Group, standing: Standing) -> dict[str, Any]:
    return {
        "eps": f"{standing.eps_255:g}",
        "attacks": [
            {"label": group.attacks[spec], "compared": spec in standing.compared}
            for spec in standing.attacks
        ],
        "has_weak": any(r.too_weak for row in standing.rows for r in row.results),
        "remarks": standing_remarks(group, standing),
        "rows": [_row(row, several_backbones=_several_backbones(group)) for row in standing.rows],
    }


def _several_backbones(group: Group) -> bool:
    return len({entry.about["backbone"] for entry in group.entries}) > 1


def _row(row: Row, *, several_backbones: bool) -> dict[str, Any]:
    deciding = row.lowest.by if row.lowest else None
    return {
        "rank": row.rank,
        "range": "\N{EN DASH}".join(map(str, row.open_ranks or ())),
        "label": row.entry.label,
        "backbone": str(row.entry.about["backbone"]) if several_backbones else "",
        "reference": row.entry.is_reference,
        "clean": _measured(row.clean, otherwise=_clean_word(row)),
        "results": [_result(result, result.label == deciding) for result in row.results],
        "worst": _measured(row.worst, deciding=deciding == PER_IMAGE_WORST),
        "lowest": _lowest(row.lowest),
    }


def _clean_word(row: Row) -> str:
    return "not run" if row.entry.clean is None else "failed"


def _result(result: Result, deciding: bool) -> Number:
    if result.status != "done":
        word = "not run" if result.status == "missing" else "failed"
        return Number(word, note=result.error or "")
    number = _measured(result.measures, deciding=deciding)
    own = result.srocc_nonadaptive
    below = "" if own is None else f"{_minus(f'{own:.3f}')} by its own gradient"
    return replace(number, is_weak=result.too_weak is True, below=below)


def _measured(
    measures: Measures | None, *, otherwise: str = "not compared", deciding: bool = False
) -> Number:
    if measures is None:
        return Number(otherwise)
    text, interval = _texts(measures.srocc)
    return Number(text, interval, is_deciding=deciding)


def _lowest(lowest: Lowest | None) -> Number:
    if lowest is None:
        return Number("not ranked")
    text, interval = _texts(lowest.srocc)
    return Number(text, interval, is_deciding=True, note=lowest.by)


def _texts(estimate: Estimate) -> tuple[str, str]:
    if estimate.value is None:
        return "undefined", ""
    if estimate.low is None or estimate.high is None:
        return _minus(f"{estimate.value:.3f}"), "no interval"
    return _minus(f"{estimate.value:.3f}"), _minus(f"{estimate.low:.3f} to {estimate.high:.3f}")


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _picture(group: Group) -> Picture | None:
    light, dark = draw(group, LIGHT), draw(group, DARK)
    if light is None or dark is None:
        return None
    return Picture(_data_uri(to_svg(light)), _data_uri(to_svg(dark)))


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def _provenance(group: Group, index: int) -> dict[str, Any]:
    entry = group.entries[index]
    clean = clean_measures(entry)
    return {
        "label": entry.label,
        "spec": str(entry.identity["defense"]["spec"]),
        "backbone": str(entry.about["backbone"]),
        "recipe": str(entry.about["recipe"]),
        "recipe_key": str(entry.about["recipe_key"]),
        "weights": str(entry.identity["defense"]["weights_sha256"]),
        "seed": entry.seed,
        "score_draws": entry.identity["score_draws"],
        "clean": [(name, *_texts(estimate)) for name, estimate in clean.estimates.items()]
        if clean
        else [],
        "cells": [
            (group.attacks.get(c.attack, c.attack), f"{c.eps_255:g}", c.record.key)
            for c in entry.cells
        ],
    }


def _attacks(group: Group) -> list[dict[str, str]]:
    found = []
    for spec, label in group.attacks.items():
        cells = [c for entry in group.entries for c in entry.cells if c.attack == spec]
        about = cells[0].record.about
        kinds = {name: str(about[name]) for name in ("threat_model", "access")}
        found.append({"label": label, "spec": spec, **kinds})
    return found


def _environments(board: Board) -> list[dict[str, Any]]:
    """Return every distinct set of versions with the number of cells computed under it."""
    counts: dict[str, tuple[int, list[tuple[str, str]]]] = {}
    cells: Iterable[Cell] = (cell for entry in board.entries for cell in entry.cells)
    for cell in cells:
        versions = cell.record.environment or {}
        text = canonical_json(versions)
        number = counts[text][0] if text in counts else 0
        counts[text] = (number + 1, _flat(versions))
    return [{"cells": counts[text][0], "versions": counts[text][1]} for text in sorted(counts)]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name in sorted(values):
        value = values[name]
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", "none" if value is None else str(value)))
    return found
