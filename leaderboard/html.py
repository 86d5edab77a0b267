"""``report.html``: one page that needs no network and no other file, and reads without scripts."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup
from PIL import Image

from iqabench.files import canonical_json
from iqabench.leaderboard.assets import VENDORED_STYLE, embedded_json, policy, read, scripts
from iqabench.leaderboard.curves import LIGHT, draw, to_png
from iqabench.leaderboard.defense_pages import defense_pages, page_ids
from iqabench.leaderboard.drilldown import add_pictures, damaged, per_bin
from iqabench.leaderboard.fields import (
    clean_number,
    lowest_number,
    result_number,
    statistic_number,
    worst_number,
)
from iqabench.leaderboard.load import Board, Cell, Entry, Group
from iqabench.leaderboard.page_document import document
from iqabench.leaderboard.pages import environment
from iqabench.leaderboard.pictures import Album, data_uri
from iqabench.leaderboard.published_lines import published_tables
from iqabench.leaderboard.rank import PER_IMAGE_WORST, WEAK_DROP, Row, Standing, standings
from iqabench.leaderboard.run_files import RunFiles, read_run_files
from iqabench.leaderboard.statistics import Statistics, gather, notes
from iqabench.leaderboard.statistics_tables import Table, tables
from iqabench.leaderboard.tables import remarks, standing_remarks
from iqabench.leaderboard.verdicts import audits_of, badge_at

TEMPLATE, STYLE = "report.html.j2", "report.css.j2"
REMARKS_SHOWN = 4
"""How many remarks on a table are open; the others can be opened."""
COLUMNS = {
    "rank": "rank",
    "verdict": "verdict",
    "lowest": "lowest",
    "clean": "clean",
    "attack": "attacks",
    "worst": "per-image worst",
    "interval": "intervals",
}
"""What may be hidden in the leaderboard, with its name for people."""
FIGURE_COLOURS = 64
"""The curves are line drawings: so many colours show them, in a quarter of the bytes."""


def to_html(board: Board) -> str:
    """Return the page; the same text whenever the files of its runs are the same.

    Every label is escaped: names come from plugins and data sets of other people.
    """
    files, album = read_run_files(board), Album()
    pages = defense_pages(board, files, album)
    most = per_bin(board)
    images = [damaged(group, most) for group in board.groups]
    add_pictures(album, images)
    templates = environment()
    style = templates.get_template(STYLE).render(vendored=Markup(read(VENDORED_STYLE)))
    code = scripts()
    ids = page_ids(board)
    published = published_tables(board)
    groups = [_group(statistics, files, ids) for statistics in gather(board)]
    for group in groups:
        group["published"] = published.get(group["slug"], [])
    return templates.get_template(TEMPLATE).render(
        groups=groups,
        pages=pages,
        page_of=lambda entry: ids[str(entry.identity["defense"]["spec"])],
        filters=_filters(groups),
        environments=_environments(board),
        commands=files.commands,
        file_remarks=files.remarks,
        per_image_worst=PER_IMAGE_WORST,
        weak_drop=WEAK_DROP,
        per_bin=most,
        remarks_shown=REMARKS_SHOWN,
        data=embedded_json(document(board, pages, images, album)),
        style=Markup(style),
        scripts=code,
        policy=policy(code, style),
    )


def _group(statistics: Statistics, files: RunFiles, ids: Mapping[str, str]) -> dict[str, Any]:
    group = statistics.group
    backbones = sorted({str(entry.about["backbone"]) for entry in group.entries})
    audits = {entry: audits_of(entry, files.audits) for entry in group.entries}
    ranked = standings(group)
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
        "standings": [_standing(group, standing, audits, ids) for standing in ranked],
        "picture": _picture(group),
        "tables": [_table(table) for table in tables(statistics)],
        "table_notes": notes(statistics),
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
                "fields": [statistic_number(field) for field in row.fields],
            }
            for row in table.rows
        ],
    }


def _standing(
    group: Group,
    standing: Standing,
    audits: Mapping[Entry, list[Mapping[str, Any]]],
    ids: Mapping[str, str],
) -> dict[str, Any]:
    rows = [_row(row, several_backbones=_several_backbones(group)) for row in standing.rows]
    for row, shown in zip(standing.rows, rows, strict=True):
        shown["badge"] = badge_at(audits[row.entry], standing.eps_255)
        shown["page"] = ids[str(row.entry.identity["defense"]["spec"])]
    kinds = {attack["spec"]: attack for attack in _attacks(group)}
    return {
        "eps": f"{standing.eps_255:g}",
        "attacks": [
            {**kinds[spec], "compared": spec in standing.compared} for spec in standing.attacks
        ],
        "has_weak": any(r.too_weak for row in standing.rows for r in row.results),
        "has_badges": any(row["badge"] for row in rows),
        "remarks": standing_remarks(group, standing),
        "rows": rows,
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
        "clean": clean_number(row),
        "results": [result_number(result, result.label == deciding) for result in row.results],
        "worst": worst_number(row),
        "lowest": lowest_number(row.lowest),
    }


def _picture(group: Group) -> str | None:
    """Return the curves as an address, for readers without scripts and for paper."""
    figure = draw(group, LIGHT)
    if figure is None:
        return None
    out = io.BytesIO()
    with Image.open(io.BytesIO(to_png(figure))) as image:
        image.convert("RGB").quantize(FIGURE_COLOURS).save(out, format="PNG", optimize=True)
    return data_uri(out.getvalue())


def _attacks(group: Group) -> list[dict[str, str]]:
    found = []
    for spec, label in group.attacks.items():
        cells = [c for entry in group.entries for c in entry.cells if c.attack == spec]
        about = cells[0].record.about
        kinds = {name: str(about[name]) for name in ("threat_model", "access")}
        threat = ", ".join(kinds.values())
        found.append({"label": label, "spec": spec, "threat": threat, **kinds})
    return found


def _filters(groups: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return what a reader may choose from, over all data sets."""
    ranked = [standing for group in groups for standing in group["standings"]]
    has_badges = any(standing["has_badges"] for standing in ranked)
    attacks = [attack for group in groups for attack in group["attacks"]]
    return {
        "columns": [c for c in COLUMNS.items() if c[0] != "verdict" or has_badges],
        "attacks": sorted({attack["label"] for attack in attacks}),
        "threats": sorted({attack["threat"] for attack in attacks}),
        "eps": sorted({standing["eps"] for standing in ranked}, key=float),
    }


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
