"""From flags to a benchmark, a home for data, and a device."""

from __future__ import annotations

import argparse
import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import platformdirs
import torch

from iqabench.config import Benchmark, check_eps, defaults, found_here, load_benchmark
from iqabench.data import DataHome
from iqabench.errors import ConfigError, DeviceError, OutputError, ResultsError
from iqabench.files import write_json
from iqabench.planning import Plan
from iqabench.progress import Reporter


def benchmark_of(arguments: argparse.Namespace, reporter: Reporter) -> Benchmark:
    """Return the benchmark: flags over file over defaults; says so if the file was not asked for.

    Raises:
        ConfigError: The file or a flag is wrong.
    """
    flags = flags_of(arguments)
    here = None if arguments.config else found_here()
    if here is not None and here.read_bytes() != defaults().encode():
        reporter.say(f"settings from {here.resolve()}")
    return load_benchmark(arguments.config, flags)


def flags_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what flags say of a benchmark, by field, and set the threads they ask for.

    Raises:
        ConfigError: A flag is wrong.
    """
    flags: dict[str, Any] = {}
    names = {
        "defense": "defenses",
        "attack": "attacks",
        "data_root": "data_root",
        "backbone": "backbone",
        "backbone_weights": "backbone_weights",
        "recipe": "recipe",
        "device": "device",
        "batch_size": "batch_size",
        "images": "images",
        "cell_timeout": "cell_timeout",
    }
    for flag, field in names.items():
        value = getattr(arguments, flag, None)
        if value is not None:
            flags[field] = value
    if getattr(arguments, "eps", None) is not None:
        flags["eps"] = check_eps(arguments.eps.split(","))
    if getattr(arguments, "seed", None) is not None:
        flags["seeds"] = _seeds(arguments.seed)
    if getattr(arguments, "visibility", None) is not None:
        flags["visibility"] = arguments.visibility.split(",")
    if getattr(arguments, "no_reference", False):
        flags["reference"] = None
    set_threads(getattr(arguments, "threads", None))
    return flags


def home_of(arguments: argparse.Namespace, benchmark: Benchmark, reporter: Reporter) -> DataHome:
    """Return where data is looked for and kept.

    Raises:
        ConfigError: The data root does not exist.
        OutputError: The store cannot be written.
    """
    root = benchmark.data_root or _environment_path("IQABENCH_DATA")
    if root is not None and not root.is_dir():
        raise ConfigError(f"data root {root} is not a folder; give the folder that holds data sets")
    return DataHome(root, store_of(arguments), reporter)


def store_of(arguments: argparse.Namespace) -> Path:
    """Return the folder of what iqabench makes itself; it is there.

    Raises:
        OutputError: It cannot be written.
    """
    store: Path = (
        arguments.store
        or _environment_path("IQABENCH_STORE")
        or platformdirs.user_cache_path("iqabench")
    )
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise OutputError(f"cannot write the store {store}: {e.strerror or e}; give --store") from e
    return store


def device_of(name: str) -> torch.device:
    """Return the device of a name: ``auto``, ``cpu``, ``cuda``, ``cuda:n`` or ``mps``.

    Raises:
        DeviceError: No such name, or it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    numbered = kind == "cuda" and number.isascii() and number.isdecimal()
    if kind not in ("cpu", "cuda", "mps") or (number and not numbered):
        raise DeviceError(f"unknown device {name!r}; it is auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda":
        count = torch.cuda.device_count()
        if int(number or 0) >= count:
            raise DeviceError(
                f"device {name!r} is not there: this machine has {count} CUDA devices"
            )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device 'mps' is not there: this is no Apple machine with Metal")
    return torch.device(name)


def set_threads(count: int | None) -> None:
    """Have torch use so many CPU threads; None leaves its own number.

    Raises:
        ConfigError: Fewer than one.
    """
    if count is None:
        return
    if count < 1:
        raise ConfigError(f"threads must be at least 1, got {count}")
    torch.set_num_threads(count)


def keep_request(run: Path, plan: Plan, command: list[str]) -> None:
    """Keep what was asked, and on which day, after what was asked before in this directory."""
    asked = {
        "command": command,
        "benchmark": plan.benchmark.model_dump(mode="json"),
        "datasets": {e.data.name: e.data.split.origin for e in plan.entries},
    }
    path = run / "run.json"
    try:
        earlier = [dict(one) for one in json.loads(path.read_text())["runs"]]
    except (OSError, ValueError, KeyError, TypeError):
        earlier = []
    others = [one for one in earlier if {**one, "date": None} != {**asked, "date": None}]
    today = datetime.now(timezone.utc).date().isoformat()
    write_json(path, {"schema": 1, "runs": [*others, asked | {"date": today}]})


def request_of(run: Path) -> dict[str, Any]:
    """Return the settings of the last request that a run directory keeps.

    Raises:
        ResultsError: It keeps none.
    """
    path = run / "run.json"
    try:
        last = json.loads(path.read_text())["runs"][-1]["benchmark"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as e:
        raise ResultsError(f"{path} does not say how the run was made; give --config FILE") from e
    return dict(last)


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"seeds {text!r} are not whole numbers such as 0,1,2") from None


def _environment_path(name: str) -> Path | None:
    return Path(os.environ[name]).expanduser() if os.environ.get(name) else None
