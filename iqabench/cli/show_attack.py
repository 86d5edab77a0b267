"""``iqabench show-attack``: Figure 1 of the reference paper."""

from __future__ import annotations

import argparse

from iqabench.cli.figure import check_mos, facts_of, setting_of
from iqabench.figures.canvas import Words, save
from iqabench.figures.drawing import draw_twin
from iqabench.figures.subject import image_file
from iqabench.figures.twin import Twin, make_twin, twin_table
from iqabench.seeding import exact_kernels


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    mos = check_mos(arguments.mos)
    setting = setting_of(arguments)
    try:
        side = image_file(arguments.image, setting.data)
        with exact_kernels():
            (subject,) = setting.train()
            twin = make_twin(subject, side, mos, setting.eps_255)
    finally:
        setting.reporter.close()
    if not twin.moved:
        setting.reporter.warn(
            f"{setting.attack.label} moved nothing: its objective has no gradient here; where the"
            " mos is the clean score, mse has none: give --mos or another objective"
        )
    label = f"mos {twin.mos:.4g} ({twin.mos_from})"
    words = Words(
        f"{setting.attack.label} against {twin.defense}",
        [twin.image_id, *facts_of(setting), label],
    )
    table = twin_table(twin, setting.attack.label)
    paths = save(setting.out, "show-attack", draw_twin(twin, words), table)
    setting.reporter.say(_line(twin))
    return setting.show(paths, dict(zip(*table, strict=True)))


def _line(twin: Twin) -> str:
    numbers = twin.numbers
    return (
        f"{twin.image_id}: score {numbers['clean_score']:.4f} before, {numbers['score']:.4f} after"
        f" ({numbers['score_8bit']:.4f} from an 8-bit file); the mos it was told is"
        f" {twin.mos:.4f}, {twin.mos_from}; difference times {twin.factor:.4g}"
    )
