"""``iqabench minimal-eps``: how large a radius it takes to move a score."""

from __future__ import annotations

import argparse

from iqabench.cli.figure import facts_of, setting_of
from iqabench.errors import ConfigError
from iqabench.figures.canvas import Words, save
from iqabench.figures.drawing import draw_minimal
from iqabench.figures.minimal import MinimalEps, check_searchable, minimal_eps, minimal_table
from iqabench.seeding import exact_kernels
from iqabench.sides import decode

MOST = 6
"""Lines in one figure."""
IMAGES = 100
"""Attacked where neither the flag nor the benchmark file says how many."""


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    change: float = arguments.change
    if not 0 < change <= 1:
        raise ConfigError(
            f"change {change:g}: scores lie in [0, 1]; give a number above 0, up to 1"
        )
    setting = setting_of(arguments, most=MOST, images=IMAGES, one_attack=False)
    attacks = setting.plan.attacks
    for attack in attacks:
        check_searchable(attack)
    try:
        side, eps = setting.data.test, setting.eps_255
        decode([side], setting.reporter)
        with exact_kernels():
            subjects = setting.train()
            found = [
                minimal_eps(met, side, change, eps, setting.counter(met[0]))
                for i in range(0, len(subjects), len(attacks))
                for met in [subjects[i : i + len(attacks)]]
            ]
    finally:
        setting.reporter.close()
    words = Words(
        f"Smallest eps that moves the score by {change:g}",
        [
            " or ".join(attack.label for attack in attacks),
            f"{len(side)} images",
            *facts_of(setting),
        ],
    )
    paths = save(setting.out, "minimal-eps", draw_minimal(found, words), minimal_table(found))
    return setting.show(paths, {"change": change, "defenses": [_facts(one) for one in found]})


def _facts(found: MinimalEps) -> dict[str, object]:
    median = found.median
    return {
        "defense": found.defense,
        "images": len(found.side),
        "largest_eps_255": found.largest,
        "moved": found.moved,
        "median_eps_255": {"value": median.value, "low": median.low, "high": median.high},
    }
