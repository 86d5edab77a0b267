"""``iqabench activations``: Figure 5 of the reference paper."""

from __future__ import annotations

import argparse
import operator
from collections.abc import Iterable

from iqabench.cli.figure import facts_of, setting_of
from iqabench.figures.canvas import Words, save
from iqabench.figures.channels import channels_table, compare_channels, find_layer
from iqabench.figures.drawing import draw_channels
from iqabench.figures.subject import untrained
from iqabench.seeding import exact_kernels
from iqabench.sides import decode


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    setting = setting_of(arguments)
    try:
        find_layer(untrained(setting.plan.entries[0]), arguments.layer)
        side = setting.data.test
        decode([side], setting.reporter)
        with exact_kernels():
            (subject,) = setting.train()
            progress = setting.counter(subject)
            channels = compare_channels(subject, side, arguments.layer, setting.eps_255, progress)
    finally:
        setting.reporter.close()
    before, after = channels.scores
    words = Words(
        f"{channels.layer} of {channels.defense} under {setting.attack.label}",
        [
            f"eps = {setting.eps_255:g}/255",
            f"{channels.images} images",
            f"mean score {before:.3f} to {after:.3f}",
            f"mean |score change| {channels.score_moved:.3f}",
            *facts_of(setting),
        ],
    )
    figure = draw_channels(channels, words)
    paths = save(setting.out, "activations", figure, channels_table(channels))
    facts: dict[str, object] = {
        "defense": channels.defense,
        "layer": channels.layer,
        "images": channels.images,
        "mean_score": before,
        "mean_score_attacked": after,
        "mean_absolute_score_change": channels.score_moved,
        "mean_change": _mean(map(operator.sub, channels.adversarial, channels.natural)),
        "mean_absolute_change": _mean(channels.moved),
    }
    return setting.show(paths, facts)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
