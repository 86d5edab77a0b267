"""``iqabench run``: the main job."""

from __future__ import annotations

import argparse
from pathlib import Path

from iqabench.cli.board import show_board
from iqabench.cli.console import ConsoleReporter
from iqabench.cli.estimate import show
from iqabench.cli.setup import benchmark_of, device_of, home_of, keep_request
from iqabench.data import decode
from iqabench.estimating import estimate
from iqabench.keeping import Saving, can_keep
from iqabench.planning import choose_datasets, make_plan
from iqabench.running import Runner, Summary, locked
from iqabench.visibility import Visibility


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    reporter = ConsoleReporter()
    benchmark = benchmark_of(arguments, reporter)
    device = device_of(benchmark.device)
    home = home_of(arguments, benchmark, reporter)
    chosen = choose_datasets(benchmark, arguments.dataset or [], home)
    plan = make_plan(benchmark, chosen, home, split=arguments.split)
    saving = None if arguments.save_images is None else Saving.parse(arguments.save_images)
    if arguments.dry_run:
        show(plan, estimate(plan, home.store, device, reporter), as_json=arguments.json)
        return 0
    run: Path = arguments.out
    visibility = Visibility(benchmark.visibility, device)
    with locked(run):
        plan.fetch_weights(home.store)
        decode(plan.sides(attacked=True), reporter)
        keep_request(run, plan, arguments.given)
        if saving is not None and (left := [e for e in plan.eps_255 if not can_keep(e)]):
            radii = ", ".join(f"{eps:g}" for eps in left)
            reporter.say(f"images are kept at whole grey levels alone, so not at eps {radii}")
        try:
            runner = Runner(run, home.store, device, reporter, saving, visibility)
            summary = runner.execute(plan)
        finally:
            reporter.close()
        return _finish(run, summary, reporter, as_json=arguments.json)


def _finish(run: Path, summary: Summary, reporter: ConsoleReporter, *, as_json: bool) -> int:
    show_board(run, reporter, as_json=as_json)
    reporter.say(
        f"{summary.computed} cells computed, {summary.found} found, {len(summary.failures)} failed"
    )
    return 1 if summary.failures else 0
