"""How much faster two workers of Ray are than one, with one CPU thread each, on this machine.

Trains and attacks a few seeds on the demo data set, by one worker and then by two, each with a
store of its own, and compares the result files. The time is that of the whole computation, the
start of the worker processes included and the start of Ray itself not.

    python benchmarks/ray_scaling.py --json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from iqabench.cli.console import ConsoleReporter
from iqabench.config import load_benchmark
from iqabench.data import DataHome
from iqabench.distributed.driving import Driver
from iqabench.distributed.jobs import Setting
from iqabench.distributed.ray_cluster import RayCluster, connected, share_of
from iqabench.planning import Plan, make_plan
from iqabench.progress import Silent
from iqabench.sides import decode

SHORT = {"resize": 64, "crop": 64, "batch_size": 16, "epochs": 2, "lr": 1e-3}
"""A recipe that trains in seconds: what is measured is not how good the network is."""


def plan_in(store: Path, seeds: int, steps: int) -> Plan:
    """Return the plan of the measurement, with the demo data set in a store."""
    flags = {
        "defenses": ["resnet"],
        "attacks": [f"pgd:steps={steps}"],
        "eps": [1, 2, 4],
        "seeds": list(range(seeds)),
        "images": 64,
        "backbone": "demo_net",
        "backbone_weights": "none",
        "datasets": {"demo": {"recipe": "short"}},
        "recipes": {"short": SHORT},
        "device": "cpu",
    }
    return make_plan(
        load_benchmark(None, flags), ["demo"], DataHome(None, store, Silent()), split=None
    )


def timed(folder: Path, base: Path, workers: int, seeds: int, steps: int) -> float:
    """Return the seconds that a run by so many workers takes."""
    run, store = folder / f"run{workers}", folder / f"store{workers}"
    for part in ("datasets", "pixels"):
        shutil.copytree(base / part, store / part)
    run.mkdir()
    plan = plan_in(store, seeds, steps)
    with connected("local", workers) as ray:
        cluster = RayCluster(ray, share_of(ray, "cpu", 1, 1.0))
        setting = Setting(None, store, Path.cwd(), "cpu", 1)
        began = time.perf_counter()
        summary = Driver(run, setting, cluster, ConsoleReporter(), workers).execute(plan)
        spent = time.perf_counter() - began
    if summary.failures:
        raise SystemExit("\n".join(summary.failures))
    return spent


def results(run: Path) -> dict[str, Any]:
    """Return the contents of all cells, less what any two runs differ in."""
    found: dict[str, Any] = {}
    for path in sorted((run / "cells").rglob("*.*")):
        name = path.relative_to(run).as_posix()
        found[name] = path.read_text()
        if path.suffix == ".json":
            document = json.loads(found[name])
            found[name] = {k: document[k] for k in document.keys() - {"cost", "environment"}}
    return found


def main() -> None:
    """Measure, and say what came out."""
    parser = argparse.ArgumentParser(description="two workers of Ray against one")
    parser.add_argument("--seeds", type=int, default=4, help="entries of the plan")
    parser.add_argument("--steps", type=int, default=40, help="steps of PGD")
    parser.add_argument("--store", type=Path, help="keep the demo data set here for another time")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = (asked.store or folder / "base").resolve()
        decode(plan_in(base, 1, 1).sides(attacked=True), Silent())
        one, two = (timed(folder, base, n, asked.seeds, asked.steps) for n in (1, 2))
        document = {
            "seconds_one_worker": round(one, 1),
            "seconds_two_workers": round(two, 1),
            "ratio": round(one / two, 2),
            "identical": results(folder / "run1") == results(folder / "run2"),
            "entries": asked.seeds,
            "cores": os.cpu_count(),
            "load_average": os.getloadavg()[0],
        }
    text = json.dumps(document, indent=2)
    shown = text if asked.json else "\n".join(f"{k}: {v}" for k, v in document.items())
    sys.stdout.write(shown + "\n")


if __name__ == "__main__":
    main()
