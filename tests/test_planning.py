"""From a benchmark to entries: which settings speak for which data set, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support import Workplace

from iqabench.config import Conditions, load_benchmark
from iqabench.data import DataHome, dataset
from iqabench.errors import DataError, UnknownNameError
from iqabench.planning import choose_datasets, conditions_of, make_plan
from iqabench.progress import Silent
from iqabench.sides import Geometry

Install = Callable[..., Path]
SOURCE = """
from dataclasses import dataclass
from typing import ClassVar
from iqabench.api import Dataset

@dataclass(frozen=True, kw_only=True)
class Frames(Dataset):
    summary = "frames of films"
    title = "Frames"
    homepage = "https://example.org"
    licence = "CC0"
    layout = "a folder frames with frames.csv"
    expected_images = 3
    edition: int = 1

    def locate(self, root):
        folder = root / "frames"
        return folder if folder.is_dir() else None

    def read(self, folder):
        raise NotImplementedError("not\\nyet")
"""


@pytest.fixture(autouse=True)
def frames(install_plugin: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = {"iqabench.datasets": {"frames": "frames_iqa:Frames"}}
    install_plugin("frames-iqa", points, {"frames_iqa": SOURCE})
    monkeypatch.chdir(tmp_path)


def test_a_defense_with_a_backbone_of_its_own_is_planned_with_it(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    flags = {"backbones": {"cprl": "resnet18"}, "defenses": ["cprl", "resnet"]}
    benchmark = load_benchmark(place.config, flags)
    home = DataHome(place.data, place.store, Silent())
    plan = make_plan(benchmark, ["biq2021"], home, split=None)
    found = {e.chain.base.name: e.training.backbone.name for e in plan.entries}
    assert found == {"cprl": "resnet18", "resnet": "demo_net"}


def conditions(datasets: dict[str, object], asked: str) -> Conditions:
    Path("benchmark.yaml").write_text(yaml.safe_dump({"datasets": datasets}))
    return conditions_of(load_benchmark(None, {}), dataset(asked))


@pytest.mark.parametrize("key", ["frames", "frames-iqa/frames"])
@pytest.mark.parametrize("asked", ["frames", "frames-iqa/frames", "frames:edition=2"])
def test_a_bare_key_speaks_for_every_form_of_a_data_set(key: str, asked: str) -> None:
    assert conditions({key: {"recipe": "light"}}, asked).recipe == "light"


def test_a_key_with_the_same_parameters_wins() -> None:
    keys: dict[str, object] = {
        "frames": {"recipe": "light", "backbone": "vgg16"},
        "frames:edition=2": {"recipe": "demo"},
    }
    assert conditions(keys, "frames:edition=2") == Conditions("demo", "vgg16", "imagenet")
    assert conditions(keys, "frames:edition=3").recipe == "light"
    assert conditions(keys, "frames").recipe == "light"


def test_a_key_that_names_nothing_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'frames'"):
        conditions({"frame": {}}, "frames")


def test_missing_data_sets_get_a_line_each_and_demo_is_the_fallback(tmp_path: Path) -> None:
    Path("benchmark.yaml").write_text(yaml.safe_dump({"datasets": {"frames": None}}))
    reporter = Listening()
    home = DataHome(tmp_path, tmp_path / "store", reporter)
    assert choose_datasets(load_benchmark(None, {}), [], home) == ["demo"]
    assert [line.partition(":")[0] for line in reporter.lines] == [
        "data set live",
        "data set vcl",
        "data set livec",
        "data set koniq",
        "data set biq2021",
        "data set frames-iqa/frames",
        "no images found, so the data set is demo",
    ]
    assert all(str(tmp_path) in line and "\n" not in line for line in reporter.lines[:-1])
    assert "expected is a folder frames with frames.csv" in reporter.lines[-2]


def test_whatever_a_reader_raises_is_one_line_about_its_data(tmp_path: Path) -> None:
    home = DataHome(tmp_path, tmp_path / "store", Silent())
    (tmp_path / "frames").mkdir()
    with pytest.raises(
        DataError, match=r"data set frames-iqa/frames in .*frames cannot be read: "
    ) as e:
        home.open(dataset("frames"), Geometry(32, 32), split=None, split_seed=0)
    assert "NotImplementedError: not yet" in str(e.value)
    assert "\n" not in str(e.value)


def test_without_a_fallback_nothing_runs(tmp_path: Path) -> None:
    Path("benchmark.yaml").write_text(yaml.safe_dump({"datasets": ["biq2021"]}))
    home = DataHome(tmp_path, tmp_path / "store", Silent())
    with pytest.raises(DataError, match="no data set of the benchmark is there"):
        choose_datasets(load_benchmark(None, {}), [], home)


class Listening(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)
