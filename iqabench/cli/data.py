"""``iqabench data``: which data sets there are, and whether their files are right."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable

from iqabench.cli.console import ConsoleReporter, data_console, print_json
from iqabench.cli.setup import benchmark_of, home_of
from iqabench.contracts.dataset import Dataset
from iqabench.data import DataHome, Geometry, dataset, decode, missing_line
from iqabench.errors import ConfigError, UsageError
from iqabench.planning import all_datasets, conditions_of
from iqabench.registry import Named


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
        return 0
    reports, wrong = [], False
    try:
        for named in chosen:
            recipe = benchmark.get_recipe(conditions_of(benchmark, named).recipe)
            geometry = Geometry(recipe.resize, recipe.crop)
            report = _check(named, home, geometry, benchmark.split_seed, arguments.split)
            wrong |= report["problem"] is not None and (
                bool(arguments.dataset) or report["folder"] is not None
            )
            reports.append(report)
    finally:
        reporter.close()
    print_json(reports) if arguments.json else _print_check(reports)
    return UsageError.exit_code if wrong else 0


def _facts(named: Named[Dataset], home: DataHome) -> dict[str, Any]:
    info = named.component
    folder = home.find(named)
    return {
        "name": named.name,
        "title": info.title,
        "summary": info.summary,
        "folder": str(folder) if folder else None,
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
    """Read labels and decode every image; what is wrong is reported, not raised."""
    report: dict[str, Any] = _facts(named, home) | {"problem": None}
    if report["folder"] is None and not named.component.makes_itself:
        return report | {"problem": missing_line(named, home.root)}
    try:
        data = home.open(named, geometry, split=split, split_seed=split_seed)
        decode([data.train, data.test], home.reporter)
    except UsageError as e:
        return report | {"problem": str(e)}
    labels = [row.mos for row in data.table.rows]
    kinds = Counter(r.distortion for r in data.table.rows if r.distortion)
    scenes = {r.scene for r in data.table.rows if r.scene}
    return report | {
        "folder": str(home.find(named)),
        "images": len(data.table.rows),
        "scenes": len(scenes) or None,
        "distortions": dict(sorted(kinds.items())),
        "mos": {"low": min(labels), "high": max(labels), "mean": sum(labels) / len(labels)},
        "labels": vars(data.table.labels),
        "split": data.split.origin,
        "train": len(data.split.train),
        "test": len(data.split.test),
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


def _print_check(reports: list[dict[str, Any]]) -> None:
    console = data_console()
    for report in reports:
        source = f"  licence {report['licence']}; from {report['homepage']}"
        if report["problem"] is not None:
            lines = [f"{report['name']}: {report['problem']}"]
            if report["folder"] is not None:  # else the problem says so itself
                lines.append(source)
            console.print("\n".join(lines), markup=False, soft_wrap=True)
            continue
        whole = report["expected_images"]
        of = f" of the {whole} of the whole data set" if whole and whole != report["images"] else ""
        scenes = f", {report['scenes']} scenes" if report["scenes"] else ""
        mos, labels = report["mos"], report["labels"]
        lines = [
            f"{report['name']}: {report['images']} images{of}{scenes}, all of them readable",
            f"  folder  {report['folder']}",
            f"  labels  {labels['source']}: {labels['low']:g}..{labels['high']:g},"
            f" {'higher' if labels['higher_is_better'] else 'lower'} is better;"
            f" mos {mos['low']:.3f}..{mos['high']:.3f}, mean {mos['mean']:.3f}"
            + (" (a computed proxy, not human scores)" if report["proxy_labels"] else ""),
            f"  split   {report['split']}: {report['train']} train, {report['test']} test",
            *_published(report["published_count"]),
            source,
        ]
        console.print("\n".join(lines), markup=False, soft_wrap=True)


def _published(count: dict[str, Any] | None) -> list[str]:
    """Return a line with what a paper says about the size, for comparison; none without."""
    if count is None:
        return []
    images = f"{count['images']} images" if count["images"] is not None else ""
    said = "; ".join(part for part in (images, count["note"]) if part)
    return [f"  paper   {count['source']}: {said}"] if said else []
