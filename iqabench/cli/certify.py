"""``iqabench certify``: how far a smoothed score can move inside L2 balls."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from iqabench.cli.console import ConsoleReporter, data_console
from iqabench.cli.figure import Setting, facts_of, prepare
from iqabench.cli.setup import benchmark_of
from iqabench.figures.canvas import Words, save
from iqabench.figures.certified import (
    Certified,
    Request,
    certified_record,
    certified_table,
    certify_all,
    check_certifiable,
    linf_as_l2,
)
from iqabench.figures.drawing import draw_certified
from iqabench.files import json_text
from iqabench.leaderboard.tables import shown
from iqabench.leaderboard.terminal import MISSING, bulleted
from iqabench.seeding import exact_kernels
from iqabench.sides import decode

MOST = 6
"""Lines in one figure."""
IMAGES = 100
"""Certified where neither the flag nor the benchmark file says how many."""


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    request = Request.parse(arguments.l2, arguments.samples, arguments.confidence)
    reporter = ConsoleReporter()
    benchmark = benchmark_of(arguments, reporter).model_copy(update={"attacks": []})
    setting = prepare(arguments, benchmark, reporter, most=MOST, images=IMAGES)
    check_certifiable(setting.plan.entries, request)
    try:
        decode([setting.data.test], reporter)
        with exact_kernels():
            setting.open_training()
            found = certify_all(setting.plan, setting.models, request)
    finally:
        reporter.close()
    record = certified_record(found, setting.models)
    facts = _facts(setting, found)
    words = Words("Certified intervals of the smoothed score", [*facts_of(setting), *facts])
    table = certified_table(found)
    paths = save(setting.out, "certify", draw_certified(found, words), table, record)
    if setting.as_json:
        sys.stdout.write(json_text(record))
    else:
        _print(found, setting, facts, paths)
    return 0


def _facts(setting: Setting, found: Sequence[Certified]) -> list[str]:
    """Return what must be known about every number, each short enough for the figure."""
    request, sample = found[0].request, found[0].agreement
    linf, largest = linf_as_l2(setting.data.test.geometry), request.l2[-1]
    outside = "far outside" if linf > 5 * largest else "outside"
    where = f", {outside} ({linf / largest:.3g} x {largest:g})" if linf > largest else ""
    few = " (few scenes)" if sample["few_scenes"] else ""
    return [
        f"{sample['n']} images, {request.samples} samples each",
        f"confidence {request.confidence:g} for each image, not for all at once",
        f"1/255 in L-infinity is {linf:.3g} in L2{where}",
        f"95 % intervals over {sample['units']} {sample['resampled']}{few}",
    ]


def _print(
    found: Sequence[Certified], setting: Setting, facts: Sequence[str], paths: Sequence[Path]
) -> None:
    console = data_console()
    proxy = " (proxy labels)" if setting.data.named.component.proxy_labels else ""
    console.print(Text(f"{setting.data.name}{proxy}: certified intervals", style="bold"))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("defense", overflow="fold")
    for name in ("SROCC", "L2", "width\nmedian", "width\n95 %", "finite", "ordered\npairs"):
        table.add_column(name, justify="right")
    for one in found:
        for number, radius in enumerate(one.radii):
            first = () if number else (one.label, shown(one.srocc).replace(" ", "\n", 1))
            table.add_row(
                *map(Text, first or ("", "")),
                f"{radius.l2:g}",
                *(
                    MISSING if v is None else f"{v:.3f}"
                    for v in (radius.width_median, radius.width_p95)
                ),
                f"{radius.finite:.0%}",
                Text(shown(radius.ordered).replace(" ", "\n", 1)),
            )
    console.print(table)
    for fact in facts:
        console.print(bulleted(f"{fact[0].upper()}{fact[1:]}."))
    sys.stdout.write("\n" + "".join(f"wrote {path}\n" for path in paths))
