"""Runs on a real Ray: a node killed in the middle, and a run broken off by Ctrl-C."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import InstallPlugin
from played_cluster import contents
from support import Workplace

from iqabench.results import find_cells, read_cell

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'iqabench[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
PATIENCE = 240.0
"""Seconds after which a process that does not get anywhere is given up."""
GATED = """
import os
import time
from dataclasses import dataclass
from pathlib import Path
from iqabench.api import Attack

GATE = Path({gate!r})


def node():
    import ray
    return ray.get_runtime_context().get_node_id() if ray.is_initialized() else "no node"


@dataclass(frozen=True, kw_only=True)
class Gated(Attack):
    summary = "brightens, once it is let through"
    threat_model = "linf"
    access = "white-box"

    def perturb(self, regressor, images, mos, eps, noise):
        (GATE / node()).write_text(str(os.getpid()))
        while not (GATE / "open").exists():
            time.sleep(0.02)
        return (images + eps).clamp(0, 1)
"""


@pytest.fixture
def gate(tmp_path: Path, install_plugin: InstallPlugin) -> Path:
    """A folder that tells at which node the attack ``gated`` waits for the file ``open``."""
    gate = tmp_path / "gate"
    gate.mkdir()
    point = {"iqabench.attacks": {"gated": "gated_plugin:Gated"}}
    install_plugin("acme-gated", point, {"gated_plugin": GATED.format(gate=str(gate))})
    return gate


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


def start(place: Workplace, gate: Path, run: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "iqabench", "run", "--out", str(run), *place.places()]
    command += ["--dataset", "biq2021", "--defense", "nt+resnet", "--threads", "1", "--json"]
    command += ["--attack", "fgsm", "--attack", "gated", "--attack", "pgd:steps=2", "--eps", "1,4"]
    paths = [str(gate.parent / "site-acme-gated"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, *flags],
        text=True,
        stdout=pipe,
        stderr=pipe,
        env=environment,
        preexec_fn=listen,
    )


def listen() -> None:
    """Take SIGINT; a shell that starts the tests in the background has it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, said
    return out, said


def until(process: subprocess.Popen[str], happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def is_written(path: Path) -> bool:
    return path.is_file() and path.read_text() != ""


@pytest.fixture
def cluster(gate: Path) -> Iterator[Any]:
    """A cluster of one node, for a second one."""
    utilities: Any = importlib.import_module("ray.cluster_utils")
    cluster = utilities.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def test_a_node_killed_in_the_middle_changes_no_result(
    place: Workplace, gate: Path, cluster: Any, tmp_path: Path
) -> None:
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    flags = ["--engine", "ray", "--address", cluster.address, "--store", str(tmp_path / "other")]
    process = start(place, gate, tmp_path / "run", *flags)
    until(process, lambda: is_written(gate / second.node_id))
    worker = int((gate / second.node_id).read_text())
    before = {path: read_cell(path).status for path in find_cells(tmp_path / "run")}
    assert set(before.values()) == {"done"}
    assert 1 <= len(before) < 14
    cluster.remove_node(second, allow_graceful=False)
    until(process, lambda: not Path(f"/proc/{worker}").exists())  # or it is let through alive
    (gate / "open").touch()
    out, said = finish(process)
    assert "is gone" in said
    assert "14 cells computed, 0 found, 0 failed" in said

    whole, _ = finish(start(place, gate, tmp_path / "whole"))
    assert json.loads(out) == json.loads(whole)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")
    for name in ("leaderboard.csv", "leaderboard.json", "statistics.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_ctrl_c_leaves_a_run_that_goes_on(place: Workplace, gate: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    flags = ["--engine", "ray", "--workers", "2"]
    process = start(place, gate, run, *flags)
    # Each of the two defenses has its clean pass and two radii of FGSM before the gate.
    until(process, lambda: len(list(find_cells(run))) == 6)
    process.send_signal(signal.SIGINT)
    _, said = finish(process, 130)
    assert said.splitlines()[-1].startswith("iqabench: interrupted; finished cells stay")
    kept = {path: path.read_bytes() for path in find_cells(run)}
    assert len(kept) == 6
    (gate / "open").touch()
    _, said = finish(start(place, gate, run, *flags))
    assert "8 cells computed, 6 found, 0 failed" in said
    assert all(path.read_bytes() == content for path, content in kept.items())
    finish(start(place, gate, tmp_path / "whole"))
    assert contents(run) == contents(tmp_path / "whole")
