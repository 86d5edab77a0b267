"""``iqabench run``: the main job."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

from iqabench.cli.board import show_board
from iqabench.cli.console import ConsoleReporter
from iqabench.cli.engine import Compute, anywhere, check_engine, on_ray
from iqabench.cli.estimate import show
from iqabench.cli.setup import benchmark_of, device_of, home_of, keep_request
from iqabench.estimating import estimate
from iqabench.keeping import Saving, can_keep
from iqabench.locking import locked
from iqabench.planning import Plan, choose_datasets, make_plan
from iqabench.running import Runner, Summary
from iqabench.sides import decode
from iqabench.visibility import Visibility


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    reporter = ConsoleReporter()
    far = check_engine(arguments)
    benchmark = benchmark_of(arguments, reporter)
    device = None if far and not arguments.dry_run else device_of(benchmark.device)
    home = home_of(arguments, benchmark, reporter)
    if far:
        home = anywhere(home)
    chosen = choose_datasets(benchmark, arguments.dataset or [], home)
    plan = make_plan(benchmark, chosen, home, split=arguments.split)
    saving = None if arguments.save_images is None else Saving.parse(arguments.save_images)
    if arguments.dry_run and device is not None:
        show(plan, estimate(plan, home.store, device, reporter), as_json=arguments.json)
        return 0
    run: Path = arguments.out
    with locked(run):
        if device is None:
            engine = on_ray(arguments, benchmark, home, saving, reporter)
        else:
            visibility = Visibility(benchmark.visibility, device)
            engine = _here(Runner(run, home.store, device, reporter, saving, visibility), plan)
        try:
            with engine as compute:
                keep_request(run, plan, arguments.given)
                if saving is not None and (left := [e for e in plan.eps_255 if not can_keep(e)]):
                    radii = ", ".join(f"{eps:g}" for eps in left)
                    reporter.say(
                        f"images are kept at whole grey levels alone, so not at eps {radii}"
                    )
                summary = compute(plan)
        finally:
            reporter.close()
        return _finish(run, summary, reporter, as_json=arguments.json)


@contextlib.contextmanager
def _here(runner: Runner, plan: Plan) -> Iterator[Compute]:
    """Make weights and images ready, and give what computes a plan in this process."""
    plan.fetch_weights(runner.store)
    decode(plan.sides(attacked=True), runner.reporter)
    yield runner.execute


def _finish(run: Path, summary: Summary, reporter: ConsoleReporter, *, as_json: bool) -> int:
    show_board(run, reporter, as_json=as_json)
    reporter.say(
        f"{summary.computed} cells computed, {summary.found} found, {len(summary.failures)} failed"
    )
    return 1 if summary.failures else 0
