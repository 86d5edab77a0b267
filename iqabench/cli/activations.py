"""``iqabench activations``: Figure 5 of the reference paper."""

from __future__ import annotations

import argparse

from iqabench.cli.figure import facts_of, setting_of
from iqabench.data import decode
from iqabench.errors import ConfigError
from iqabench.figures.channels import channels_table, compare_channels, find_layer
from iqabench.figures.drawing import Words, draw_channels, save
from iqabench.figures.subject import spread, untrained
from iqabench.seeding import exact_kernels


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.images is not None and arguments.images < 1:
        raise ConfigError(f"images must be at least 1, got {arguments.images}")
    setting = setting_of(arguments)
    try:
        find_layer(untrained(setting.plan.entries[0]), arguments.layer)
        side = spread(setting.data.test, arguments.images)
        decode([side], setting.reporter)
        with exact_kernels():
            (subject,) = setting.train()
            channels = compare_channels(subject, side, arguments.layer, setting.eps_255)
    finally:
        setting.reporter.close()
    before, after = channels.scores
    words = Words(
        f"{channels.layer} of {channels.defense} under {setting.attack.label}",
        [
            f"eps = {setting.eps_255:g}/255",
            f"{channels.images} images",
            f"mean score {before:.3f} to {after:.3f}",
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
    }
    return setting.show(paths, facts)
