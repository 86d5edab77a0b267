"""``iqabench data``: which data sets there are, and whether their files are right."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable

from iqabench.cli.console import ConsoleReporter, data_console, print_json
from iqabench.cli.failing import print_error
from iqabench.cli.setup import benchmark_of, home_of
from iqabench.contracts.dataset import Dataset, Table
from iqabench.data import DataHome, dataset, missing_line
from iqabench.errors import ConfigError, DataError, UsageError
from iqabench.planning import all_datasets, conditions_of
from iqabench.registry import Named
from iqabench.sides import Geometry, decode


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; exit 2 if a data set that was asked for is missing or wrong."""
    reporter = ConsoleReporter()
    benchmark = benchmark_of(arguments, reporter)
    home = home_of(arguments, benchmark, reporter)
    chosen = [dataset(text) for text in arguments.dataset] or list(all_datasets(reporter))
    if arguments.split is not None and len(arguments.dataset) != 1:
        raise ConfigError("--split is checked against one data set; name it")
    if arguments.action == "list":
        rows = [_facts(named, home) for named in chosen]
        print_json(rows) if arguments.json else _print_list(rows)
        for row in rows:
            if row["problem"] is not None:
                reporter.warn(row["problem"])
        return 0
    reports = []
    try:
        for named in chosen:
            recipe = benchmark.get_recipe(conditions_of(benchmark, named).recipe)
            geometry = Geometry(recipe.resize, recipe.crop)
            reports.append(_check(named, home, geometry, benchmark.split_seed, arguments.split))
    finally:
        reporter.close()
    asked = bool(arguments.dataset)
    print_json(reports) if arguments.json else _print_check(reports, asked=asked)
    problems = [r["problem"] for r in reports if r["status"] == "wrong" or (asked and r["problem"])]
    for problem in problems:
        print_error(problem)
    return UsageError.exit_code if problems else 0


def _facts(named: Named[Dataset], home: DataHome) -> dict[str, Any]:
    """Return what is known without reading anything; ``problem`` says if it cannot be found."""
    info = named.component
    folder, problem = None, None
    try:
        folder = home.find(named)
    except DataError as e:
        problem = str(e)
    return {
        "name": named.name,
        "title": info.title,
        "summary": info.summary,
        "folder": str(folder) if folder else None,
        "problem": problem,
        "expected_images": info.expected_images or None,
        "published_count": vars(info.published_count) if info.published_count else None,
        "proxy_labels": info.proxy_labels,
        "makes_itself": info.makes_itself,
        "layout": info.layout,
        "licence": info.licence,
        "homepage": info.homepage,
    }


def _check(
    named: Named[Dataset], home: DataHome, geometry: Geometry, split_seed: int, split: Path | None
) -> dict[str, Any]:
    """Read labels and decode every image; what is wrong is reported, not raised.

    ``status`` is ``right``, ``wrong`` or ``missing``. What could be read is in the report also if
    something else is wrong.
    """
    report = _facts(named, home)
    if report["problem"] is not None:
        return report | {"status": "wrong"}
    if report["folder"] is None and not named.component.makes_itself:
        return report | {"status": "missing", "problem": missing_line(named, home.root)}
    try:
        table = home.read(named)
        report |= {"folder": str(home.find(named)), **_facts_of(table)}
        data = home.divide(named, table, geometry, split=split, split_seed=split_seed)
        sides = {"train": len(data.split.train), "test": len(data.split.test)}
        report |= {"split": data.split.origin, **sides}
        decode([data.train, data.test], home.reporter)
    except UsageError as e:
        said = re.match(rf"(data set |split of )?{re.escape(named.name)}\b", str(e), re.IGNORECASE)
        return report | {"status": "wrong", "problem": str(e) if said else f"{named.name}: {e}"}
    return report | {"status": "right"}


def _facts_of(table: Table) -> dict[str, Any]:
    labels = [row.mos for row in table.rows]
    kinds = Counter(r.distortion for r in table.rows if r.distortion)
    scenes = {r.scene for r in table.rows if r.scene}
    return {
        "images": len(table.rows),
        "scenes": len(scenes) or None,
        "distortions": dict(sorted(kinds.items())),
        "mos": {"low": min(labels), "high": max(labels), "mean": sum(labels) / len(labels)},
        "labels": vars(table.labels),
    }


def _print_list(rows: list[dict[str, Any]]) -> None:
    table = RichTable()
    for name in ("name", "data set", "there", "licence", "from"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(
            row["name"],
            row["summary"],
            "yes" if row["folder"] else "made when used" if row["makes_itself"] else "no",
            row["licence"],
            row["homepage"],
        )
    data_console().print(table)


def _print_check(reports: list[dict[str, Any]], *, asked: bool) -> None:
    console = data_console()
    for report in reports:
        # What was not asked for and is not there is no error: the line says all about it.
        unasked = report["status"] == "missing" and not asked
        lines = [report["problem"]] if unasked else _lines(report)
        console.print("\n".join(lines), markup=False, soft_wrap=True)


def _lines(report: dict[str, Any]) -> list[str]:
    """Return what was found of a data set; what is wrong with it is said as an error."""
    lines = [f"{report['name']}: {_summary(report)}"]
    if report["folder"] is not None:
        lines.append(f"  folder  {report['folder']}")
    if "labels" in report:
        mos, labels = report["mos"], report["labels"]
        lines.append(
            f"  labels  {labels['source']}: {labels['low']:g}..{labels['high']:g},"
            f" {'higher' if labels['higher_is_better'] else 'lower'} is better;"
            f" mos {mos['low']:.3f}..{mos['high']:.3f}, mean {mos['mean']:.3f}"
            + (" (a computed proxy, not human scores)" if report["proxy_labels"] else "")
        )
    if "split" in report:
        lines.append(f"  split   {report['split']}: {report['train']} train, {report['test']} test")
    lines += _published(report["published_count"])
    lines.append(f"  licence {report['licence']}; from {report['homepage']}")
    return lines


def _summary(report: dict[str, Any]) -> str:
    if "images" not in report:
        return "not found" if report["status"] == "missing" else "cannot be used"
    whole = report["expected_images"]
    of = f" of the {whole} of the whole data set" if whole and whole != report["images"] else ""
    scenes = f", {report['scenes']} scenes" if report["scenes"] else ""
    readable = ", all of them readable" if report["status"] == "right" else ""
    return f"{report['images']} images{of}{scenes}{readable}"


def _published(count: dict[str, Any] | None) -> list[str]:
    """Return a line with what a paper says about the size, for comparison; none without."""
    if count is None:
        return []
    images = f"{count['images']} images" if count["images"] is not None else ""
    said = "; ".join(part for part in (images, count["note"]) if part)
    return [f"  paper   {count['source']}: {said}"] if said else []
