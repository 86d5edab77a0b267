"""``iqabench audit``: is a defense's robustness real?"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from iqabench.audit.auditing import Audit, Auditor
from iqabench.audit.controls import Control, Share, confusion, controls
from iqabench.audit.page import to_html
from iqabench.audit.record import record
from iqabench.cli.console import ConsoleReporter, data_console, print_json
from iqabench.cli.estimate import show
from iqabench.cli.setup import benchmark_of, device_of, home_of, keep_request
from iqabench.config import Benchmark
from iqabench.data import DataHome
from iqabench.errors import ConfigError
from iqabench.estimating import estimate
from iqabench.files import file_name, write_json, write_text
from iqabench.leaderboard.load import load_board
from iqabench.leaderboard.tables import shown
from iqabench.leaderboard.write import write_outputs
from iqabench.locking import locked
from iqabench.metrics import Estimate
from iqabench.planning import Plan, choose_datasets, make_plan
from iqabench.results import find_cells
from iqabench.running import Runner
from iqabench.sides import decode
from iqabench.suites import Suite, find

IMAGES, QUICK_IMAGES = 100, 32
EPS_255, QUICK_EPS_255 = (1.0, 4.0), (2.0,)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; any verdict is exit code 0, a defense without one is 1."""
    reporter = ConsoleReporter()
    suite = find("audit_quick" if arguments.quick else "audit")
    assert suite is not None
    benchmark = _benchmark(arguments, suite, reporter)
    device = device_of(benchmark.device)
    home = home_of(arguments, benchmark, reporter)
    wanted = controls() if arguments.controls else None
    tasks = list(_tasks(arguments, benchmark, home, wanted))
    if arguments.dry_run:
        together = _together([task.plan for task in tasks])
        show(together, estimate(together, home.store, device, reporter), as_json=arguments.json)
        return 0
    run: Path = arguments.out
    found: list[tuple[Control | None, Audit]] = []
    with locked(run):
        keep_request(run, tasks[0].plan, arguments.given)
        for task in tasks:
            task.plan.fetch_weights(home.store)
            decode([*task.plan.sides(attacked=True), *task.whole.sides(attacked=True)], reporter)
            auditor = Auditor(Runner(run, home.store, device, reporter), suite)
            for audit in auditor.audits(task.plan, task.whole):
                _write(run, record(audit, suite))
                found.append((task.control, audit))
        if any(find_cells(run)):  # none if every defense failed before it was attacked
            write_outputs(run, load_board(run, reporter), reporter)
    reporter.close()
    documents = [record(audit, suite) for _, audit in found]
    summary = None if wanted is None else _summary([(c, a) for c, a in found if c is not None])
    if arguments.json:
        print_json({"audits": documents, "controls": summary})
    else:
        _print(documents, run, summary)
    return int(any(document["error"] for document in documents))


def _benchmark(arguments: argparse.Namespace, suite: Suite, reporter: ConsoleReporter) -> Benchmark:
    if arguments.controls and arguments.defense:
        raise ConfigError("--controls audits the controls; give it without --defense")
    if not arguments.controls and not arguments.defense:
        raise ConfigError("nothing to audit: give --defense SPEC, or --controls")
    benchmark = benchmark_of(arguments, reporter)
    if benchmark.reference is None:
        raise ConfigError("an audit needs an undefended network: set 'reference' in the file")
    changes: dict[str, Any] = {"attacks": [suite.name], "attack_draws": suite.draws}
    if arguments.eps is None:
        changes["eps"] = QUICK_EPS_255 if arguments.quick else EPS_255
    if benchmark.images is None:
        changes["images"] = QUICK_IMAGES if arguments.quick else IMAGES
    return benchmark.model_copy(update=changes)


@dataclass(frozen=True)
class _Task:
    """What ``Auditor.audits`` takes, and the control that it is, if it is one."""

    plan: Plan
    whole: Plan
    control: Control | None


def _tasks(
    arguments: argparse.Namespace,
    benchmark: Benchmark,
    home: DataHome,
    wanted: Sequence[Control] | None,
) -> Iterator[_Task]:
    chosen = choose_datasets(benchmark, arguments.dataset or [], home)

    def made(**changes: Any) -> Plan:
        changed = benchmark.model_copy(update=changes)
        return make_plan(changed, chosen, home, split=arguments.split)

    clean: dict[str, Any] = {"reference": None, "attacks": [], "images": None}
    if wanted is None:
        plan = made()
        for entry in plan.entries:
            if entry.reference and entry.chain.label in map(str.strip, benchmark.defenses):
                raise ConfigError(
                    f"{entry.chain.label} is the undefended reference that others are audited"
                    " against; audit another defense"
                )
        yield _Task(plan, made(**clean), None)
        return
    undefended = made(defenses=[benchmark.reference], seeds=[0])
    for control in wanted:  # all beside one network: another training of it is a control too
        changes = {"defenses": [control.spec], "seeds": [control.seed]}
        own = made(**changes | {"reference": None})
        together = replace(own, entries=(*undefended.entries, *own.entries))
        yield _Task(together, made(**changes | clean), control)


def _together(plans: Sequence[Plan]) -> Plan:
    """Return one plan with every entry once, for the estimate."""
    entries = {(e.conditions, e.reference): e for plan in plans for e in plan.entries}
    return replace(plans[0], entries=tuple(entries.values()))


def _write(run: Path, document: dict[str, Any]) -> None:
    folder = run / "audits"
    name = file_name(f"{document['dataset']}-{document['defense']}-seed{document['seed']}")
    folder.mkdir(exist_ok=True)
    write_json(folder / f"{name}.json", document)
    write_text(folder / f"{name}.html", to_html(document))


def _summary(found: Sequence[tuple[Control, Audit]]) -> dict[str, Any]:
    result = confusion(found)
    for name in ("exposed", "accused"):
        share: Share = result[name]
        result[name] = {
            "count": share.count,
            "total": share.total,
            "interval": list(share.interval),
        }
    return result


def _print(documents: Sequence[dict[str, Any]], run: Path, summary: dict[str, Any] | None) -> None:
    console = data_console()
    table = Table(title="verdicts", title_justify="left")
    for name in ("defense", "eps", "verdict", "N", "R"):
        table.add_column(name, justify="right" if name in ("eps", "N", "R") else "left")
    for document in documents:
        name = document["defense"] + (f", seed {document['seed']}" if document["seed"] else "")
        if document["error"]:
            table.add_row(escape(name), "", "failed", "", "")
        for f in document["findings"]:
            numbers = [shown(Estimate(**f[number])) for number in ("apparent", "real")]
            row = (escape(name), f"{f['eps_255']:g}", f["verdict"])
            table.add_row(*row, *map(escape, numbers))
    console.print(table)
    for document in documents:
        if document["error"]:
            console.print(f"{document['defense']}: {document['error']}", markup=False)
    for document in documents if summary is None else []:
        for f in document["findings"]:
            lines = [f"{document['defense']} at {f['eps_255']:g}/255: {f['why']}."]
            raised = (r for r in f["reasons"] if r["raised"])
            lines += [f"  {r['test']}: {r['asks']} {r['found']}" for r in raised]
            console.print("\n".join(lines), markup=False)
    if summary is not None:
        _print_controls(console, summary)
    console.print(f"\nwrote {run / 'audits'}", markup=False, soft_wrap=True)


def _print_controls(console: Any, summary: dict[str, Any]) -> None:
    words = sorted({word for counts in summary["by_kind"].values() for word in counts})
    table = Table(title="controls by kind", title_justify="left")
    for name in ("kind", *words):
        table.add_column(name)
    for kind, counts in summary["by_kind"].items():
        table.add_row(kind, *(str(counts[word] or "") for word in words))
    console.print(table)
    for name, what in (("exposed", "masks exposed"), ("accused", "honest defenses accused")):
        share = summary[name]
        low, high = share["interval"]
        console.print(
            f"{what}: {share['count']} of {share['total']} (95 % interval {low:.0%} to {high:.0%})"
        )
    for line in summary["no_control"]:
        console.print(f"no control, for it hides nothing from plain PGD: {line}", markup=False)
    for line in summary["failed"]:
        console.print(f"failed: {line}", markup=False)
