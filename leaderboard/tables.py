"""``leaderboard.csv`` and ``leaderboard.json``, and the remarks that go with every table.

Both files have the same bytes whenever the cells are the same: no time, memory, date or path is
written, so that two runs can be compared by ``cmp``.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from typing import Any

from iqabench.leaderboard.load import Board, Entry, Group
from iqabench.leaderboard.rank import (
    PER_IMAGE_WORST,
    WEAK_DROP,
    Lowest,
    Measures,
    Result,
    Row,
    Standing,
    clean_measures,
    reference_of,
    srocc_of,
    standings,
)
from iqabench.metrics import METRICS, Estimate
from iqabench.resampling import CONFIDENCE, resamples_for, smallest_p
from iqabench.results import CLEAN
from iqabench.suites import suites

SCHEMA = 1
"""Raise it whenever a field of ``leaderboard.json`` changes its meaning."""
PARTS = ("value", "low", "high")
DISTANCES = (
    *("linf_255_max", "linf_255_mean", "linf_8bit_255_max", "l2_mean", "psnr_mean", "ssim_mean"),
)
"""How far the images of a cell moved: ``docs/results-format.md``."""
HEADER = (
    *("dataset", "proxy_labels", "defense", "backbone", "recipe", "seed", "attack", "eps_255"),
    *("n", "resampled", "units", "few_scenes"),
    *(name if part == "value" else f"{name}_{part}" for name in METRICS for part in PARTS),
    *("srocc_8bit", "srocc_nonadaptive", "worst_srocc", "rank", "rank_low", "rank_high"),
    *("attack_too_weak", "reference", "status", "key", *DISTANCES),
)
"""``worst_srocc`` is the number that ranks: see ``rank.Row.lowest``."""

Line = dict[str, Any]


def to_csv(board: Board) -> str:
    """Return one line per row, eps and attack, with the clean pass and the per-image worst.

    Floats are in shortest exact form; what is unknown or undefined is empty.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for group in board.groups:
        for line in _lines(group):
            writer.writerow([field_text(line.get(name)) for name in HEADER])
    return out.getvalue()


def to_json(board: Board) -> str:
    """Return the same content as a document: data sets, their entries and their rankings."""
    document = {
        "schema": SCHEMA,
        "weak_drop": WEAK_DROP,
        "datasets": [_dataset(group) for group in board.groups],
    }
    return json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"


def remarks(group: Group) -> list[str]:
    """Return what a reader must know before any number of a group."""
    found = []
    if group.proxy_labels:
        found.append("Proxy labels: computed by a formula, not given by people.")
    if group.part:
        found.append(f"A part of the data set: {group.part} were there to train on and attack.")
    if group.sample and group.sample.few_scenes:
        found.append(
            f"Few scenes ({group.sample.units}): the intervals cover less than they claim."
        )
    without = [e.label for e in group.entries if e.attacked and not reference_of(group, e)]
    if without:
        found.append(
            "Whether an attack is too weak is unknown, because there is no reference "
            f"(undefended, same backbone and seed) for: {', '.join(without)}."
        )
    stochastic = [e.label for e in group.entries if e.about["stochastic"] and e.attacked]
    if stochastic:
        found.append(
            f"Stochastic: {', '.join(stochastic)}. The {PER_IMAGE_WORST} is picked and scored on "
            "the same draws there, which makes it look a little lower than it is."
        )
    if group.failures:
        found.append(f"Failed cells: {len(group.failures)}. They are listed with their errors.")
    if group.rounded:
        found.append(
            f"Merged from several runs that differ by rounding (at most 1e-6) in {group.rounded} "
            f"{'cell' if group.rounded == 1 else 'cells'}; one run's numbers are shown."
        )
    replaced = sum(entry.replaced for entry in group.entries)
    if replaced:
        found.append(
            f"Cells not shown: {replaced}. They repeat an attack and eps with another version, "
            "source or number of draws; the one with the lowest SROCC is shown."
        )
    return found


def standing_remarks(group: Group, standing: Standing) -> list[str]:
    """Return what a reader must know about one ranking: what it compares, and what is missing."""
    if not standing.attacks:
        return ["No attack has been run, so nothing is ranked."]
    names = group.attacks
    found = [_compared_remark(group, standing), *_range_remarks(group, standing)]
    for spec in standing.attacks:
        unmet = [r.entry.label for r in standing.rows if r.met and spec not in r.met]
        if unmet and spec not in standing.compared:
            found.append(f"Not compared on {names[spec]}, without result for {', '.join(unmet)}.")
    for row in standing.rows:
        for status, text in (("missing", "not run"), ("failed", "failed")):
            which = [r.label for r in row.results if r.status == status]
            if which:
                found.append(f"{row.entry.label}: {text}: {', '.join(which)}.")
        if row.lowest_met and (not row.lowest or row.lowest_met.srocc != row.lowest.srocc):
            found.append(
                f"{row.entry.label}: lowest SROCC over every attack it met: "
                f"{shown(row.lowest_met.srocc)} ({row.lowest_met.by})."
            )
        found += _adapting_remark(row)
    return found


def _adapting_remark(row: Row) -> list[str]:
    """Return the attack that gains most by more than the defense's own gradient."""
    gains = [
        (r.srocc_nonadaptive - r.measures.srocc.value, r)
        for r in row.results
        if r.srocc_nonadaptive is not None
        and r.measures is not None
        and r.measures.srocc.value is not None
    ]
    if not gains:
        return []
    _, most = max(gains, key=lambda gain: gain[0])
    assert most.measures is not None
    return [
        f"{row.entry.label}: attacks are adapted to it; on its own gradient alone {most.label}"
        f" would leave {most.srocc_nonadaptive:.3f} in place of"
        f" {shown(most.measures.srocc, interval=False)}."
    ]


def shown(estimate: Estimate, *, interval: bool = True) -> str:
    """Return a number for people: three decimals, and its interval if it has one."""
    if estimate.value is None:
        return "undefined"
    text = f"{estimate.value:.3f}"
    if not interval or estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{estimate.low:.3f}, {estimate.high:.3f}]"


def field_text(value: object) -> str:
    """Return a value as it stands in a CSV file; what is unknown or undefined is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _lines(group: Group) -> Iterator[Line]:
    for entry in group.entries:
        if entry.clean is not None:
            yield {
                **(entry.clean.record.distance or {}),
                **_entry_line(group, entry),
                "attack": CLEAN,
                "eps_255": 0.0,
                **_measures_line(clean_measures(entry)),
                "srocc_8bit": srocc_of(entry.clean.record.metrics_8bit),
                "status": "done" if entry.clean.is_done else "failed",
                "key": entry.clean.record.key,
            }
    for standing in standings(group):
        for row in standing.rows:
            yield from _row_lines(group, row, standing.eps_255)


def _row_lines(group: Group, row: Row, eps_255: float) -> Iterator[Line]:
    shared = {
        **_entry_line(group, row.entry),
        "eps_255": eps_255,
        "worst_srocc": row.lowest.srocc.value if row.lowest else None,
        **_ranks(row),
    }
    for result in row.results:
        yield {
            **(result.distance or {}),
            **shared,
            "attack": result.label,
            **_measures_line(result.measures),
            "srocc_8bit": result.srocc_8bit,
            "srocc_nonadaptive": result.srocc_nonadaptive,
            "attack_too_weak": result.too_weak,
            "status": result.status,
            "key": result.key,
        }
    if row.worst:
        yield {
            **shared,
            "attack": PER_IMAGE_WORST,
            **_measures_line(row.worst),
            "status": "derived",
        }


def _entry_line(group: Group, entry: Entry) -> Line:
    return {
        "dataset": group.slug,
        "proxy_labels": group.proxy_labels,
        "defense": entry.label,
        "backbone": entry.about["backbone"],
        "recipe": entry.about["recipe"],
        "seed": entry.seed,
        "reference": entry.is_reference,
    }


def _measures_line(measures: Measures | None) -> Line:
    if measures is None:
        return {}
    line: Line = dict(vars(measures.sample))
    for name in METRICS:
        estimate = measures.estimates[name]
        line |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return line


def _dataset(group: Group) -> Line:
    return {
        "slug": group.slug,
        "title": group.title,
        "dataset": group.dataset,
        "split": group.split,
        "proxy_labels": group.proxy_labels,
        "sample": vars(group.sample) if group.sample else None,
        "attacks": [{"spec": spec, "label": label} for spec, label in group.attacks.items()],
        "entries": [_entry(entry) for entry in group.entries],
        "standings": [
            {
                "eps_255": standing.eps_255,
                "compared": list(standing.compared),
                "rows": [_row(row) for row in standing.rows],
                "remarks": standing_remarks(group, standing),
            }
            for standing in standings(group)
        ],
        "remarks": remarks(group),
        "failures": [
            {
                "defense": entry.label,
                "attack": cell.attack,
                "eps_255": cell.eps_255,
                "key": cell.record.key,
                "error": cell.record.error,
            }
            for entry, cell in group.failures
        ],
    }


def _entry(entry: Entry) -> Line:
    names = ("backbone", "recipe", "recipe_key", "reference", "stochastic")
    return {
        "label": entry.label,
        "defense": entry.identity["defense"],
        "seed": entry.seed,
        "score_draws": entry.identity["score_draws"],
        **{name: entry.about[name] for name in names},
        "clean": _measures_json(clean_measures(entry)),
        "clean_key": entry.clean.record.key if entry.clean else None,
    }


def _row(row: Row) -> Line:
    return {
        "defense": row.entry.label,
        **_ranks(row),
        "worst_srocc": _lowest(row.lowest),
        "worst_srocc_over_all_met": _lowest(row.lowest_met or row.lowest),
        "per_image_worst": _measures_json(row.worst),
        "results": [_result(result) for result in row.results],
    }


def _ranks(row: Row) -> Line:
    low, high = row.rank_range or (None, None)
    return {"rank": row.rank, "rank_low": low, "rank_high": high}


def _result(result: Result) -> Line:
    return vars(result) | {"measures": _measures_json(result.measures)}


def _lowest(lowest: Lowest | None) -> Line | None:
    return {**_estimate(lowest.srocc), "by": lowest.by} if lowest else None


def _measures_json(measures: Measures | None) -> Line | None:
    if measures is None:
        return None
    estimates = {name: _estimate(measures.estimates[name]) for name in METRICS}
    return estimates | vars(measures.sample)


def _estimate(estimate: Estimate) -> Line:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def _range_remarks(group: Group, standing: Standing) -> list[str]:
    """Say what the ranges of ranks mean, and where nothing could have been told apart."""
    rows = sum(row.rank_range is not None for row in standing.rows)
    if rows < 2 or group.sample is None:
        return []
    pairs, units = math.comb(rows, 2), group.sample.units
    if smallest_p(resamples_for(pairs, units), units) * pairs >= 1 - CONFIDENCE:
        return [
            f"{group.sample.units} {group.sample.resampled} are too few to tell any of {rows} rows "
            "apart: each may have any rank."
        ]
    return [
        "Ranks that the images leave open stand beside a rank: rows are told apart by paired "
        f"differences of their lowest SROCC, corrected by Holm for {pairs} "
        f"{'pair' if pairs == 1 else 'pairs'}."
    ]


def _compared_remark(group: Group, standing: Standing) -> str:
    rows = sum(bool(row.met) for row in standing.rows)
    if not rows:
        return "Every attack failed, so nothing is ranked."
    if not standing.compared:
        return "No attack has a result for every row, so nothing is ranked."
    names = ", ".join(group.attacks[spec] for spec in standing.compared)
    kind = "the attack" if len(standing.compared) == 1 else "the attacks"
    text = f"Compared on {kind} that every row with results met: {names}."
    labels = {spec: group.attacks[spec] for spec in standing.compared}
    if whole := [suite.name for suite in suites().values() if suite.is_within(labels)]:
        text += f" All of {' and '.join(whole)} is among them."
    marks = [
        r.too_weak
        for row in standing.rows
        for r in row.results
        if row.met and r.attack in standing.compared
    ]
    if all(marks):
        text += " All are too weak here: this ranking says little about robustness."
    return text
