"""Jobs on Ray: on the cores of this machine, or on the nodes of a cluster."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iqabench.checkpoints import Checkpoint
from iqabench.contracts.bridge import need_extra
from iqabench.distributed.jobs import Died, Files, Finished, Node, Report, Told
from iqabench.distributed.working import work
from iqabench.errors import ConfigError, DeviceError, IqabenchError, one_line

ANSWER = 10.0
"""Seconds in which a cluster has to answer."""
CLOSING = 5.0
"""Seconds that workers have to end by themselves when a run is broken off."""


@dataclass(frozen=True)
class Share:
    """What one job takes of a machine.

    Attributes:
        cpus: CPU threads.
        gpus: GPUs, or a part of one; 0 runs on the CPU.
    """

    cpus: int
    gpus: float

    @property
    def device(self) -> str:
        """Where its networks run."""
        return "cuda" if self.gpus else "cpu"

    def fits(self, resources: Mapping[str, float]) -> bool:
        """Say whether a node with these resources can ever take it."""
        return resources.get("CPU", 0) >= self.cpus and resources.get("GPU", 0) >= self.gpus

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU" if self.gpus else ""
        return f"{self.cpus} CPU{gpus}"


def need_ray() -> None:
    """Raise unless Ray is installed.

    Raises:
        MissingExtraError: The message holds the command that installs it.
    """
    need_extra("--engine ray", distribution="ray", extra="ray")


@contextlib.contextmanager
def connected(address: str | None, cpus: int | None) -> Iterator[Any]:
    """Give the module ``ray``, connected to a cluster, or to one of this machine for the while.

    Args:
        address: ``host:port``, or ``auto`` for the cluster that this machine is in; None takes
            ``RAY_ADDRESS``, which Ray's own launchers set, else starts Ray here.
        cpus: How many CPUs Ray has that is started here; None takes all.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: There is no cluster at that address.
        IqabenchError: Ray does not start here.
    """
    need_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = importlib.import_module("ray")
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    check_reachable(address)
    settings: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    if address == "local" and cpus is not None:
        settings["num_cpus"] = cpus
    # Ray tells of dead workers on standard output, which belongs to what was asked for.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            ray.init(
                address,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": _variables()},
                **settings,
            )
        except Exception as e:  # Ray raises bare ones too
            if address == "local":
                raise IqabenchError(f"Ray could not be started here: {one_line(e)}") from e
            raise ConfigError(f"no Ray cluster at {address!r}: {one_line(e)}") from e
        try:
            yield ray
        finally:
            ray.shutdown()


def check_reachable(address: str) -> None:
    """Find out in seconds that nobody answers at ``host:port``; Ray itself tries for minutes.

    Raises:
        ConfigError: It is none, or nobody does.
    """
    if "://" in address:
        raise ConfigError(
            f"--address {address}: run the command on a machine of the cluster, with host:port or"
            " 'auto'"
        )
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdecimal()):
        raise ConfigError(f"--address {address}: give host:port or 'auto'")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()
    except (OSError, OverflowError) as e:
        raise ConfigError(f"no Ray cluster at {address!r}: {e}") from e


def _variables() -> dict[str, str]:
    """Return the environment of workers: they import what the driver can, from the same paths."""
    own = tuple({sys.prefix, sys.base_prefix, sys.exec_prefix})
    places = [str(Path(place).resolve()) for place in sys.path]
    added = dict.fromkeys(place for place in places if not place.startswith(own))
    return {"PYTHONPATH": os.pathsep.join(added), "OMP_WAIT_POLICY": "PASSIVE"}


def share_of(ray: Any, device: str, threads: int, gpus: float) -> Share:
    """Return what a job takes of the cluster.

    Args:
        ray: The connected module.
        device: ``auto`` takes GPUs where the cluster has some; ``cpu`` or ``cuda``.
        threads: CPU threads of a job.
        gpus: Part of a GPU that a job gets, if it gets one.

    Raises:
        DeviceError: No such device, or no node has so much.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"device {device!r}: with --engine ray it is auto, cpu or cuda")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    there = any(resources.get("GPU", 0) >= gpus for resources in nodes)
    share = Share(threads, gpus if device == "cuda" or (device == "auto" and there) else 0)
    if not any(share.fits(resources) for resources in nodes):
        most = max((resources.get("CPU", 0) for resources in nodes), default=0)
        count = sum(resources.get("GPU", 0) for resources in nodes)
        raise DeviceError(
            f"no node of the Ray cluster has {share} for a worker: the largest has {most:g} CPUs,"
            f" and there are {count:g} GPUs; give --threads, --gpu-share or --device"
        )
    return share


@dataclass
class RayCluster:
    """The ``Cluster`` that Ray is.

    Attributes:
        ray: The connected module.
        share: What a job takes.
        streams: What running jobs tell, by number.
        parcels: Checkpoints that are in Ray's object store, by recipe key.
    """

    ray: Any
    share: Share
    streams: dict[int, Any] = field(default_factory=dict)
    parcels: dict[str, Any] = field(default_factory=dict)

    def submit(
        self,
        number: int,
        packed: bytes,
        checkpoints: Mapping[str, Checkpoint],
        avoid: frozenset[str],
    ) -> None:
        """See ``Cluster.submit``."""
        for key, checkpoint in checkpoints.items():
            if key not in self.parcels:
                self.parcels[key] = self.ray.put(checkpoint.files())
        task = self.ray.remote(_task).options(
            num_cpus=self.share.cpus,
            num_gpus=self.share.gpus,
            num_returns="streaming",
            max_retries=0,  # the driver sends out again what is missing, and no more
            _generator_backpressure_num_objects=1,  # what a worker begins is known before it does
            label_selector=self._elsewhere(avoid),
        )
        self.streams[number] = task.remote(packed, {k: self.parcels[k] for k in checkpoints})

    def wait(self) -> tuple[int, Told]:
        """See ``Cluster.wait``.

        Raises:
            IqabenchError: A job raised what it should not.
        """
        (stream, *_), _ = self.ray.wait(list(self.streams.values()), num_returns=1)
        number = next(n for n, one in self.streams.items() if one is stream)
        try:
            report: Report = self.ray.get(next(stream))
        except StopIteration:
            del self.streams[number]
            return number, Finished()
        except self.ray.exceptions.RayTaskError as e:
            raise IqabenchError(f"a worker of Ray failed: {_last_line(e)}") from e
        except self.ray.exceptions.RayError as e:
            del self.streams[number]
            return number, Died(_first_sentence(e))
        return number, report

    def close(self) -> None:
        """Break off what still runs."""
        streams = list(self.streams.values())
        for stream in streams:
            self.ray.cancel(stream)
        if streams:
            self.ray.wait(
                [stream.completed() for stream in streams],
                num_returns=len(streams),
                timeout=CLOSING,
            )

    def _elsewhere(self, avoid: frozenset[str]) -> dict[str, str] | None:
        """Return what keeps a job off these nodes, if it fits on another one."""
        others = [
            node["NodeID"]
            for node in self.ray.nodes()
            if node["Alive"] and node["NodeID"] not in avoid and self.share.fits(node["Resources"])
        ]
        if not (avoid and others):
            return None
        return {"ray.io/node-id": f"!in({','.join(sorted(avoid))})"}


def _task(packed: bytes, parcels: Mapping[str, Any]) -> Iterator[Report]:
    """Do a job in a worker of Ray."""
    ray = importlib.import_module("ray")

    def fetch(key: str) -> Files:
        files: Files = ray.get(parcels[key])
        return files

    key = ray.get_runtime_context().get_node_id()
    where = f"{ray.util.get_node_ip_address()} (node {key[:6]})"
    yield from work(packed, fetch, Node(key, where))


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split()).partition(". ")[0].rstrip(".") or type(error).__name__


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
