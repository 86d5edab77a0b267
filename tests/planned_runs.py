"""Plans made by hand and run to the end, for the tests of the runner."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from support import Workplace

from iqabench.api import (
    Attack,
    Defense,
)
from iqabench.chains import Chain
from iqabench.config import load_benchmark
from iqabench.data import DataHome
from iqabench.planning import Entry, Plan, attack, make_plan
from iqabench.progress import Silent
from iqabench.registry import Named
from iqabench.results import CellRecord, Columns, find_cells, read_cell, read_columns
from iqabench.running import Runner, Summary

CPU = torch.device("cpu")


def plan_of(place: Workplace, attacks: Sequence[Attack] = (), **flags: object) -> Plan:
    benchmark = load_benchmark(place.config, flags)
    home = DataHome(place.data, place.store, Silent())
    plan = make_plan(benchmark, ["biq2021"], home, split=None)
    if attacks:
        found = (Named(a, type(a).__name__.lower(), f"tests/{type(a).__name__}@1") for a in attacks)
        plan = dataclasses.replace(plan, attacks=tuple(found))
    return plan


def with_defense(plan: Plan, component: Defense) -> Plan:
    name = type(component).__name__.lower()
    chain = Chain((), Named(component, name, f"tests/{name}@1"))
    [entry] = plan.entries
    training = dataclasses.replace(entry.training, chain=chain)
    own = Entry(entry.data, chain, training, entry.recipe_name, reference=False)
    return dataclasses.replace(plan, entries=(entry, own))


def execute(place: Workplace, plan: Plan, run: Path) -> Summary:
    run.mkdir(parents=True, exist_ok=True)
    return Runner(run, place.store, CPU, Silent()).execute(plan)


def cells(run: Path) -> dict[tuple[str, str, float], tuple[CellRecord, Columns]]:
    found: dict[tuple[str, str, float], tuple[CellRecord, Columns]] = {}
    for path in find_cells(run):
        record = read_cell(path)
        columns = read_columns(path, record) if record.status == "done" else {}
        about = record.about
        found[about["defense"], about["attack"], record.cell["eps_255"]] = (record, columns)
    return found


def fgsm() -> Attack:
    """FGSM without going through strings."""
    return attack("fgsm").component
