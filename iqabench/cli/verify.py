"""``iqabench verify RUN_DIR``: whether the files of a run hold what they say."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from iqabench.cli.console import ConsoleReporter, data_console, print_json
from iqabench.verifying import Report, verify


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; anything wrong or missing is exit code 1."""
    reporter = ConsoleReporter()
    try:
        report = verify(arguments.run, reporter.counter(f"verifying {arguments.run}"))
    finally:
        reporter.close()
    if arguments.json:
        print_json({"run": str(arguments.run), "sound": report.is_sound, **asdict(report)})
    else:
        _print(report)
    return 0 if report.is_sound else 1


def _print(report: Report) -> None:
    console = data_console()

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    for line in report.problems:
        say(f"wrong: {line}")
    for line in report.missing:
        say(f"missing: {line}")
    for line in report.unknown:
        say(f"unknown: {line}")
    for path in report.unread:
        say(f"unread: {path} is no part of any cell")
    kept = f", {report.images} kept images" if report.images else ""
    failed = f", {report.failed} of them failed" if report.failed else ""
    say(
        f"{report.cells} cells{failed}{kept}: {len(report.problems)} things wrong,"
        f" {len(report.missing)} cells missing"
    )
