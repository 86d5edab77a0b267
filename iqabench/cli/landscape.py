"""``iqabench landscape``: Figure 4 of the reference paper."""

from __future__ import annotations

import argparse

from iqabench.cli.figure import check_mos, facts_of, setting_of
from iqabench.errors import ConfigError
from iqabench.figures.canvas import Words, save
from iqabench.figures.drawing import draw_planes
from iqabench.figures.plane import (
    Grid,
    check_objective,
    check_surrogate,
    plane_table,
    score_plane,
)
from iqabench.figures.subject import image_file, image_of, untrained
from iqabench.seeding import exact_kernels

MOST_POINTS = 401


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    mos = check_mos(arguments.mos)
    points: int = arguments.points
    if not (3 <= points <= MOST_POINTS and points % 2):
        raise ConfigError(f"points {points}: give an odd number from 3 to {MOST_POINTS}")
    setting = setting_of(arguments, most=2)
    objective = check_objective(setting.attack.component).objective
    route: str | None = arguments.direction_from
    grid = Grid(setting.eps_255, points, route)
    try:
        if route is not None:
            check_surrogate(route, [untrained(entry) for entry in setting.plan.entries])
        if arguments.image is not None:
            side = image_file(arguments.image, setting.data)
        else:
            side = image_of(setting.data, arguments.image_id)
        with exact_kernels():
            planes = [
                score_plane(subject, side, mos, grid, setting.counter(subject))
                for subject in setting.train()
            ]
    finally:
        setting.reporter.close()
    origin = planes[0].mos_from
    label = origin if origin == "clean score" else f"{planes[0].mos:.4g}, {origin}"
    words = Words(
        f"Score around {side.image_ids[0]}",
        ["dot: the image", f"objective {objective}", f"mos: {label}", *facts_of(setting)],
    )
    figure = draw_planes(planes, words)
    paths = save(setting.out, "landscape", figure, plane_table(planes))
    ranges = [
        {
            "defense": plane.defense,
            "gradient_from": plane.gradient_from,
            "clean_score": plane.clean_score,
            "effect": plane.effect,
            "low": min(map(min, plane.scores)),
            "high": max(map(max, plane.scores)),
        }
        for plane in planes
    ]
    setting.reporter.say(
        "a flat landscape along a masked gradient's direction is no evidence of robustness;"
        " see docs/figures.md"
    )
    return setting.show(paths, {"image_id": side.image_ids[0], "planes": ranges})
