"""What ``iqabench run --dry-run`` prints."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from iqabench.cli.console import data_console, print_json
from iqabench.estimating import Cost
from iqabench.planning import Plan


def show(plan: Plan, costs: Iterable[Cost], *, as_json: bool) -> None:
    """Print every cell, and the estimate of time per defense and attack."""
    found = list(costs)
    cells = [
        {
            "dataset": entry.data.name,
            "defense": entry.chain.label,
            "seed": entry.seed,
            "attack": attack,
            "eps_255": eps,
        }
        for entry, attack, eps in plan.cells()
    ]
    if as_json:
        print_json({"cells": cells, "estimate": [_plain(c) for c in found]})
        return
    console = data_console()
    console.print(_table(plan, found))
    known = sum(
        seconds or 0
        for cost in found
        for seconds in (cost.training_seconds, cost.clean_seconds, *cost.attack_seconds.values())
    )
    images = sum(len(c.entry.data.test) for c in found)
    console.print(
        f"{len(cells)} cells on {images} images, about {_duration(known)} in all",
        soft_wrap=True,
    )


def _table(plan: Plan, costs: Iterable[Cost]) -> Table:
    """One line for each training, clean pass, and attack with its radii: every cell is in it."""
    table = Table(title="cells, and time estimated from passes of each network")
    for name in ("data set", "defense", "step", "eps (1/255)", "time"):
        table.add_column(name, justify="right" if name == "time" else "left", overflow="fold")
    radii = " ".join(f"{eps:g}" for eps in plan.eps_255)
    for cost in costs:
        where = (cost.entry.data.name, cost.entry.chain.label)
        if len(set(plan.benchmark.seeds)) > 1:
            where = (where[0], f"{where[1]}, seed {cost.entry.seed}")
        training = "found" if cost.trained else _duration(cost.training_seconds)
        table.add_row(*where, f"train: {cost.entry.recipe_name}", "", training)
        table.add_row(*where, "clean", "0", _duration(cost.clean_seconds))
        for attack, seconds in cost.attack_seconds.items():
            table.add_row(*where, attack, radii, _duration(seconds))
    return table


def _plain(cost: Cost) -> dict[str, object]:
    return {
        "dataset": cost.entry.data.name,
        "defense": cost.entry.chain.label,
        "seed": cost.entry.seed,
        "trained": cost.trained,
        "training_seconds": _rounded(cost.training_seconds),
        "clean_seconds": _rounded(cost.clean_seconds),
        "attack_seconds": {name: _rounded(s) for name, s in cost.attack_seconds.items()},
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
