"""Real processes killed with SIGKILL, in training and in the sweep, end with the same files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support import Workplace

PATIENCE = 120.0
"""Seconds after which a process that does not get anywhere is given up."""
TABLES = ("leaderboard.csv", "leaderboard.json")
pytestmark = pytest.mark.slow  # test_faults kills at other moments in the default run


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A benchmark that is long enough to be killed in the middle."""
    place = Workplace(tmp_path)
    document = yaml.safe_load(place.config.read_text())
    document["recipes"]["tiny"]["epochs"] = 12
    document["attacks"] = ["fgsm", "pgd:steps=30,objective=reflect", "pgd:steps=30"]
    place.config.write_text(yaml.safe_dump(document))
    return place


def start(place: Workplace, run: Path, store: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "iqabench", "run", "--out", str(run), *place.places()]
    command += ["--store", str(store), "--dataset", "biq2021", "--threads", "1"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, text=True, stdout=quiet, stderr=subprocess.PIPE)


def kill_when(process: subprocess.Popen[str], happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def finish(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return said


def files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system knows no SIGKILL")
def test_a_run_killed_in_training_and_in_the_sweep_gives_the_same_leaderboard(
    place: Workplace, tmp_path: Path
) -> None:
    whole, killed, store = tmp_path / "whole", tmp_path / "killed", tmp_path / "store-killed"
    finish(start(place, whole, place.store))

    training = "checkpoints/*/training.safetensors"
    kill_when(start(place, killed, store), lambda: files(store, training))
    assert not files(store, "checkpoints/*/card.json")
    assert not files(killed, "cells/*/*/*.json")

    kill_when(start(place, killed, store), lambda: len(files(killed, "cells/*/*/*.json")) > 3)
    assert files(store, "checkpoints/*/card.json")
    assert not (killed / "leaderboard.csv").exists()
    assert 3 < len(files(killed, "cells/*/*/*.json")) < 7

    said = finish(start(place, killed, store))
    assert "0 failed" in said
    for name in TABLES:
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert not [*killed.rglob("*.tmp"), *store.rglob("*.tmp")]
