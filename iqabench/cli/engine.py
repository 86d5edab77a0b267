"""``--engine``: where the cells of a run are computed."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from iqabench.config import Benchmark
from iqabench.data import DataHome
from iqabench.distributed.driving import Driver
from iqabench.distributed.jobs import Setting
from iqabench.distributed.last_words import last_words
from iqabench.distributed.ray_cluster import (
    RayCluster,
    check_reachable,
    connected,
    need_ray,
    share_of,
)
from iqabench.errors import ConfigError
from iqabench.keeping import Saving
from iqabench.planning import Plan
from iqabench.progress import Reporter
from iqabench.running import Summary

ENDED = (
    "iqabench: this process was ended from outside, as Ray does when its part of this machine is"
    " gone; finished cells stay, run it again to go on"
)
Compute = Callable[[Plan], Summary]
"""Computes what is missing of a plan."""


def check_engine(arguments: argparse.Namespace) -> bool:
    """Check the flags of engines, and say whether it is Ray.

    Raises:
        ConfigError: A flag is wrong, or of the other engine.
        MissingExtraError: Ray is wanted and not installed.
    """
    far = {"--address": "address", "--workers": "workers", "--gpu-share": "gpu_share"}
    given = [flag for flag, name in far.items() if getattr(arguments, name) is not None]
    if arguments.engine != "ray":
        if given:
            raise ConfigError(f"{given[0]} is for --engine ray; add it, or leave {given[0]} out")
        return False
    if arguments.workers is not None and arguments.workers < 1:
        raise ConfigError(f"workers must be at least 1, got {arguments.workers}")
    share = arguments.gpu_share
    if share is not None and not (0 < share <= 1 or (share > 1 and share.is_integer())):
        raise ConfigError(f"a worker's share is a part of one GPU or whole ones, got {share:g}")
    need_ray()
    if arguments.address is not None:
        check_reachable(arguments.address)
    return True


def anywhere(home: DataHome) -> DataHome:
    """Return the same places with absolute paths: workers stand elsewhere."""
    root = None if home.root is None else home.root.resolve()
    return DataHome(root, home.store.resolve(), home.reporter)


@contextlib.contextmanager
def on_ray(
    arguments: argparse.Namespace,
    benchmark: Benchmark,
    home: DataHome,
    saving: Saving | None,
    reporter: Reporter,
) -> Iterator[Compute]:
    """Connect to Ray, and give what computes a plan on its workers.

    Raises:
        UsageError: There is no such cluster, or none of its nodes has room for a worker.
    """
    threads, workers = arguments.threads or 1, arguments.workers
    cpus = None if workers is None else workers * threads
    with last_words(ENDED), connected(arguments.address, cpus) as ray:
        share = share_of(ray, benchmark.device, threads, arguments.gpu_share or 1.0)
        setting = Setting(home.root, home.store, Path.cwd(), share.device, threads, saving)
        cluster = RayCluster(ray, share)
        try:
            yield Driver(arguments.out, setting, cluster, reporter, workers).execute
        finally:
            cluster.close()
