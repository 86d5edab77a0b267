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
    for entry in plan.entries:
        eps = ", ".join(f"{e:g}" for e in plan.eps_255)
        attacks = "; ".join(a.label for a in plan.attacks)
        console.print(
            f"{entry.shown}: clean; at eps {eps} (1/255): {attacks}", markup=False, soft_wrap=True
        )
    console.print(_table(found))
    known = sum(c.training_seconds + sum(s or 0 for s in c.attack_seconds.values()) for c in found)
    images = sum(len(c.entry.data.test) for c in found)
    console.print(
        f"{len(cells)} cells on {images} images, about {_duration(known)} in all",
        soft_wrap=True,
    )


def _table(costs: Iterable[Cost]) -> Table:
    table = Table(title="estimate, from timed passes of each network", title_justify="left")
    for name in ("data set", "defense", "step", "time"):
        table.add_column(name, justify="right" if name == "time" else "left")
    for cost in costs:
        where = (cost.entry.data.name, cost.entry.chain.label)
        training = "found" if cost.trained else _duration(cost.training_seconds)
        table.add_row(*where, f"training, recipe {cost.entry.recipe_name}", training)
        for attack, seconds in cost.attack_seconds.items():
            table.add_row(*where, attack, "unknown" if seconds is None else _duration(seconds))
    return table


def _plain(cost: Cost) -> dict[str, object]:
    return {
        "dataset": cost.entry.data.name,
        "defense": cost.entry.chain.label,
        "seed": cost.entry.seed,
        "trained": cost.trained,
        "training_seconds": round(cost.training_seconds, 1),
        "attack_seconds": {
            name: None if s is None else round(s, 1) for name, s in cost.attack_seconds.items()
        },
    }


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
