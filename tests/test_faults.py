"""Real processes killed, starved of disk, or in each other's way, and what goes on afterwards."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from killing import Killer, temporary_files
from support import Workplace

from iqabench.cli import main
from iqabench.locking import locked

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
SEED = 20261122
"""Of the moments; ``docs/reliability.md`` names it beside what was measured."""


class Kill:
    """A benchmark that is killed, and what an uninterrupted run of it gives."""

    def __init__(self, folder: Path, killer: Killer) -> None:
        self.place, self.killer = Workplace(folder), killer
        document = yaml.safe_load(self.place.config.read_text())
        document["recipes"]["tiny"]["epochs"] = 4
        self.place.config.write_text(yaml.safe_dump(document))
        self.run, self.store = folder / "whole", folder / "store-whole"
        self.whole = killer.run(self.argv(self.run, self.store))
        assert self.whole.code == 0, self.whole.said

    def argv(self, run: Path, store: Path) -> list[str]:
        places = ["--config", str(self.place.config), "--data-root", str(self.place.data)]
        argv = ["run", "--out", str(run), "--store", str(store), *places]
        return [*argv, "--dataset", "biq2021", "--threads", "1", "--save-images", "2"]

    def moments(self, count: int, seed: int) -> list[tuple[float | None, int | None]]:
        """Return when to kill: half after some time, half where something is written."""
        draw = random.Random(seed)
        assert self.whole.writes is not None
        times = [(draw.uniform(0, 0.9 * self.whole.seconds), None) for _ in range(count // 2)]
        writes = [(None, draw.randint(1, self.whole.writes)) for _ in range(count - count // 2)]
        return [*times, *writes]

    def check(self, after: float | None, write: int | None, folder: Path) -> str:
        """Kill a run at a moment, have it go on, compare; return what it was doing."""
        run, store = folder / "run", folder / "store"
        ended = self.killer.run(self.argv(run, store), after=after, write=write)
        doing = "nothing, it was done" if ended.code == 0 else self._doing(run, store)
        assert ended.code in (0, -signal.SIGKILL), ended.said
        again = self.killer.run(self.argv(run, store))
        assert again.code == 0, again.said
        assert contents(run) == contents(self.run), f"killed while {doing}: {after} s, {write}"
        assert not temporary_files(run, store)
        return doing

    def _doing(self, run: Path, store: Path) -> str:
        if temporary_files(run, store):
            return "write"
        if not list(store.glob("checkpoints/*/card.json")):
            return "train"
        done = len(list(run.glob("cells/*/*/*.json")))
        return "attack" if done < len(list(self.run.glob("cells/*/*/*.json"))) else "report"


def contents(run: Path) -> dict[str, bytes]:
    """Scores of every cell, kept images and the leaderboard, byte for byte."""
    patterns = ("cells/*/*/*.csv", "images/*/*.png", "splits/*", "leaderboard.*")
    found = [path for pattern in patterns for path in run.glob(pattern)]
    return {str(path.relative_to(run)): path.read_bytes() for path in found}


def is_kept(path: Path) -> bool:
    """Say whether a path is a file, and no lock: those stay."""
    return path.is_file() and not path.name.endswith(".lock")


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    with Killer() as killer:
        yield killer


@pytest.fixture(scope="module")
def kill(killer: Killer, tmp_path_factory: pytest.TempPathFactory) -> Kill:
    return Kill(tmp_path_factory.mktemp("kill"), killer)


def check_all(kill: Kill, count: int, folder: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for number, (after, write) in enumerate(kill.moments(count, SEED)):
        found[kill.check(after, write, folder / str(number))] += 1
    print(f"seed {SEED}: {dict(found)}")  # noqa: T201 - with pytest -s
    return found


def test_a_run_killed_at_a_few_moments_ends_with_the_same_bytes(kill: Kill, tmp_path: Path) -> None:
    assert len(contents(kill.run)) > 10
    assert check_all(kill, 1, tmp_path).total() == 1
    assert kill.whole.writes is not None
    last = kill.check(None, kill.whole.writes - 1, tmp_path / "last")
    assert last in ("report", "write")


@pytest.mark.slow
def test_a_run_killed_at_50_random_moments_ends_with_the_same_bytes(
    kill: Kill, tmp_path: Path
) -> None:
    found = check_all(kill, 50, tmp_path)
    assert {"train", "attack", "write", "report"} <= set(found)


@pytest.mark.parametrize("what", ["pixels", "safetensors"])
def test_a_disk_that_takes_no_more_is_one_line_and_nothing_half_written(
    kill: Kill, tmp_path: Path, what: str
) -> None:
    """The system refuses to let a file grow (RLIMIT_FSIZE), wherever the file is."""
    run, store = tmp_path / "run", tmp_path / "store"
    if what == "safetensors":
        shutil.copytree(kill.store / "pixels", store / "pixels")
    before = sorted(path for path in store.rglob("*") if is_kept(path))
    ended = kill.killer.run(kill.argv(run, store), limit=6_000)
    assert (ended.code, len(ended.lines)) == (2, 1), ended.said
    assert "File too large" in ended.lines[0]
    assert what in ended.lines[0]
    assert "Traceback" not in ended.said
    assert not temporary_files(run, store)
    assert sorted(path for path in store.rglob("*") if is_kept(path)) == before


def test_a_run_that_found_no_room_goes_on_where_it_stopped(kill: Kill, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ended = kill.killer.run(kill.argv(run, kill.store), limit=4_500)
    assert (ended.code, len(ended.lines)) == (2, 1), ended.said
    assert not temporary_files(run)
    again = kill.killer.run(kill.argv(run, kill.store))
    assert again.code == 0, again.said
    assert contents(run) == contents(kill.run)


def test_a_run_directory_in_use_is_refused_by_another_process(kill: Kill, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with locked(run):
        before = sorted(run.rglob("*"))
        ended = kill.killer.run(kill.argv(run, kill.store))
        assert sorted(run.rglob("*")) == before
    assert ended.code == 2
    assert [f"run directory {run} is in use by another iqabench" in x for x in ended.lines] == [
        True
    ]


@pytest.mark.parametrize("what", ["run", "cells", "store", "report"])
def test_a_place_that_cannot_be_written_is_one_line(
    kill: Kill, tmp_path: Path, capfd: pytest.CaptureFixture[str], what: str
) -> None:
    """A file stands where a folder is needed: that binds the administrator too, unlike chmod."""
    run, store = tmp_path / "run", kill.store
    blocked = {"run": run, "cells": run / "cells", "store": tmp_path / "store"}.get(what)
    if blocked is not None:
        blocked.parent.mkdir(exist_ok=True)
        blocked.write_text("theirs")
    argv = kill.argv(run, tmp_path / "store" if what == "store" else store)
    if what == "report":
        argv = ["report", str(kill.run), "--out", str(kill.place.config / "run")]
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert main(argv) == 2
    lines = capfd.readouterr().err.splitlines()
    [line] = [line for line in lines if line.startswith("iqabench: ")]
    assert "cannot" in line
    after = {p: p.read_bytes() for p in tmp_path.rglob("*") if is_kept(p)}
    assert {p: after.get(p) for p in before} == before
    assert not temporary_files(tmp_path)


def _namespace(folder: Path, options: str) -> list[str]:
    mount = f"mount -t tmpfs -o {options} tmpfs {folder} && exec "
    return ["unshare", "-rm", "sh", "-c", mount + '"$@"', "sh"]


@pytest.mark.slow
def test_a_full_file_system_is_one_line_and_the_run_goes_on_with_more_room(
    kill: Kill, tmp_path: Path
) -> None:
    """A real file system of a few pages, in a namespace of its own; then it is made read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    probe = subprocess.run([*_namespace(disk, "size=64k"), "true"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"no file system can be mounted here: {probe.stderr.strip()}")
    with Killer(_namespace(disk, "size=64k")) as inside:
        argv = kill.argv(disk / "run", kill.store)
        full = inside.run(argv)
        assert (full.code, len(full.lines)) == (2, 1), full.said
        assert "No space left on device" in full.lines[0]
        assert inside.shell(f"find {disk} -name '.*.tmp'") == ""
        inside.shell(f"mount -o remount,ro {disk}")
        locked_out = inside.run(argv)
        assert (locked_out.code, len(locked_out.lines)) == (2, 1), locked_out.said
        assert "Read-only file system" in locked_out.lines[0]
        inside.shell(f"mount -o remount,rw,size=64m {disk}")
        assert inside.run(argv).code == 0
        inside.shell(f"cp -r {disk}/run {tmp_path}/kept")
    assert contents(tmp_path / "kept") == contents(kill.run)
