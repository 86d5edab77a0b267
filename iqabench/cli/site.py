"""``iqabench site FOLDER``: an index over many runs and their pages, for any static host."""

from __future__ import annotations

import argparse
import sys

from iqabench.cli.console import ConsoleReporter, print_json
from iqabench.cli.failing import print_error
from iqabench.leaderboard.site import make_site


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; exit code 1 if a run is damaged, with the others in place."""
    reporter = ConsoleReporter()
    try:
        listed = make_site(arguments.folder, arguments.out, reporter)
    finally:
        reporter.close()
    damaged = [run for run in listed if run.error]
    if arguments.json:
        runs = [{"name": r.name, "folder": f"runs/{r.anchor}", "error": r.error} for r in listed]
        print_json({"index": str(arguments.out / "index.html"), "runs": runs})
    else:
        sys.stdout.write(f"wrote {arguments.out / 'index.html'}\n")
    if damaged:
        print_error(f"{len(damaged)} of {len(listed)} runs are damaged: see the lines above")
    return 1 if damaged else 0
