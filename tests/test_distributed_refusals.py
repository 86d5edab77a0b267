"""What a run on many workers refuses: nodes set up otherwise, and flags that cannot be."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from played_cluster import Here, drive, locally, plan_of
from support import Workplace

from iqabench.api import Component
from iqabench.distributed.driving import Driver
from iqabench.distributed.jobs import Job, Node, Setting
from iqabench.distributed.ray_cluster import Share, share_of
from iqabench.distributed.working import work
from iqabench.errors import DeviceError, IqabenchError, UsageError
from iqabench.planning import Plan
from iqabench.progress import Silent
from iqabench.results import find_cells
from iqabench.testing.rules import one_thread


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Jobs ask for one thread, in this very process; two of them sum floats in another order."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"))


def refusal(place: Workplace, run: Path, plan: Plan, **setting: Any) -> IqabenchError:
    """What a run ends with whose workers have another setting."""
    own = Setting(place.data, place.store, Path.cwd(), "cpu", 1)
    changed = dataclasses.replace(own, **setting)
    run.mkdir(exist_ok=True)
    cluster = Here(run / "nodes")
    with pytest.raises(IqabenchError) as caught:
        Driver(run, changed, cluster, Silent()).execute(plan)
    cluster.close()
    assert not list(find_cells(run))
    return caught.value


def test_a_node_that_is_set_up_otherwise_is_named(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(place, place.store)
    gone = refusal(place, tmp_path, plan, root=tmp_path / "elsewhere")
    assert isinstance(gone, UsageError)
    assert str(gone).startswith(f"node a: the data root {tmp_path / 'elsewhere'} is no folder here")
    other = refusal(place, tmp_path, plan, release="0.0.1")
    assert "that of the driver 0.0.1; install the same one" in str(other)
    if not torch.cuda.is_available():
        assert "no CUDA device here" in str(refusal(place, tmp_path, plan, device="cuda"))

    def without_plugin(packed: bytes) -> object:
        raise ModuleNotFoundError("No module named 'acme'")

    packed = Job(plan, Setting(None, tmp_path, tmp_path, "cpu", 1), {}, (), {}, frozenset(), False)
    message = packed.pack()
    monkeypatch.setattr(pickle, "loads", without_plugin)
    [report] = work(message, lambda key: {}, Node("a", "node a"))
    assert report.refusal is not None
    assert "No module named 'acme'" in report.refusal.message
    assert report.refusal.exit_code == 2


def test_other_images_on_a_node_are_refused_before_they_are_decoded(
    tmp_path: Path,
) -> None:
    place = Workplace(tmp_path / "place")
    plan = plan_of(place, place.store)
    image = plan.entries[0].data.test.rows[3].path
    whole = image.read_bytes()
    image.write_bytes(whole + b"x")
    changed = refusal(place, tmp_path / "run", plan)
    assert "node a: 1 of 12 images hold something else" in str(changed)
    assert str(image) in str(changed)
    image.unlink()
    missing = refusal(place, tmp_path / "run", plan)
    assert str(missing).startswith("node a: 1 of 12 images cannot be read")
    image.write_bytes(whole)
    drive(place, plan, tmp_path / "run", Here(tmp_path), place.store)
    image.unlink()  # the cache of the node is of the right files, whatever became of them
    side = dataclasses.replace(plan.entries[0].data.test, store=tmp_path / "a")
    side.check_files()


def test_other_versions_of_a_component_are_refused(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(place, place.store)
    cls: type[Component] = type(plan.attacks[0].component)
    monkeypatch.setattr(cls, "version", cls.version + 1)
    error = refusal(place, tmp_path, plan)
    meant, found = (f"iqabench/fgsm@{cls.version - one}" for one in (1, 0))
    assert f"here is {found}, the driver has {meant}" in str(error)


def test_weights_trained_otherwise_on_a_node_are_refused(place: Workplace, tmp_path: Path) -> None:
    plan = plan_of(place, place.store, defenses=["resnet"])
    locally(plan, tmp_path / "local", place.store)
    drive(place, plan, tmp_path / "first", Here(tmp_path), place.store)
    [card] = (tmp_path / "a" / "checkpoints").glob("*/card.json")
    document = json.loads(card.read_text())
    card.write_text(json.dumps(document | {"weights_sha256": "0" * 64}))
    with pytest.raises(UsageError, match="holds other weights than another machine of this run"):
        drive(place, plan, tmp_path / "second", Here(tmp_path), place.store)


class Nodes:
    """As much of the module ``ray`` as tells what its nodes have."""

    def __init__(self, *resources: dict[str, float]) -> None:
        self.resources = resources

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": r} for r in self.resources]


def test_a_share_is_what_a_node_has() -> None:
    small, big = {"CPU": 4.0}, {"CPU": 16.0, "GPU": 2.0}
    assert share_of(Nodes(small), "auto", 4, 1.0) == Share(4, 0)
    assert share_of(Nodes(small, big), "auto", 4, 0.5) == Share(4, 0.5)
    assert share_of(Nodes(small, big), "cpu", 16, 1.0).device == "cpu"
    for nodes, device, threads, why in (
        (Nodes(small), "cpu", 8, "has 8 CPU for a worker: the largest has 4 CPUs"),
        (Nodes(small), "cuda", 1, "and there are 0 GPUs"),
        (Nodes(small, big), "cuda:1", 1, "with --engine ray it is auto, cpu or cuda"),
    ):
        with pytest.raises(DeviceError, match=why):
            share_of(nodes, device, threads, 1.0)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--workers", "2"], "--workers is for --engine ray"),
        (["--engine", "ray", "--workers", "0"], "workers must be at least 1, got 0"),
        (["--engine", "ray", "--gpu-share", "1.5"], "part of one GPU or whole ones, got 1.5"),
        (["--engine", "ray", "--address", "127.0.0.1:1"], "no Ray cluster at '127.0.0.1:1': "),
        (["--engine", "ray", "--address", "ray://a:1"], "run the command on a machine of the"),
        (["--engine", "ray", "--address", "here"], "--address here: give host:port or 'auto'"),
        (["--engine", "ray"], "--engine ray needs ray: pip install 'iqabench[ray]'"),
    ],
)
def test_wrong_flags_of_engines_are_a_line(
    place: Workplace,
    flags: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    version, installed = metadata.version, flags != ["--engine", "ray"]

    def versions(name: str) -> str:
        if name == "ray" and not installed:
            raise metadata.PackageNotFoundError(name)
        return "2.60" if name == "ray" else version(name)

    monkeypatch.setattr(metadata, "version", versions)
    place.out = place.folder / "never"
    assert place.run("--dataset", "biq2021", *flags) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert not place.out.exists()
