"""The paper's experiments as files: each of them makes a plan as it stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import Workplace

from iqabench.chains import Chain
from iqabench.cli import main
from iqabench.config import load_benchmark
from iqabench.planning import attack
from iqabench.published.reading import load_paper
from iqabench.registry import DATASETS

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "benchmarks").glob("*.yaml"))
METHODS = {"dbcnn", "nima", "resnet", "lwta", "denoise", "sat", "cprl"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"))


def test_every_experiment_has_a_file() -> None:
    names = ["figure-6", "table-5", "table-6", "tables-1-2-4"]
    assert [path.stem for path in FILES] == names


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_what_a_file_names_exists_and_trains_as_the_paper_says(path: Path) -> None:
    benchmark = load_benchmark(path, {})
    for spec in benchmark.defenses:
        Chain.parse(spec)
    for spec in benchmark.attacks:
        attack(spec)
    assert set(benchmark.datasets) <= set(DATASETS.names()) - {"demo", "biq2021"}
    for name in benchmark.datasets:
        conditions = benchmark.conditions(name)
        assert (conditions.recipe, conditions.backbone) == ("paper", "resnet50")
    assert benchmark.if_installed == []
    if len(benchmark.datasets) > 1:
        assert set(benchmark.defenses) == METHODS
    assert 1.0 in benchmark.eps


def test_every_method_of_the_tables_has_the_backbone_that_the_paper_s_has() -> None:
    benchmark = load_benchmark(ROOT / "benchmarks" / "tables-1-2-4.yaml", {})
    conditions = benchmark.conditions("koniq")
    paper = load_paper("cprl-paper")
    names = {m.defense[0].partition(":")[0]: m.backbone for m in paper.methods.values()}
    for method in METHODS:
        assert conditions.backbones.get(method, conditions.backbone) == names[method]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_file_runs_small(
    path: Path,
    place: Workplace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("iqabench.estimating._SECONDS", 0.0)  # a second per network else
    small = ["--dataset", "biq2021", "--recipe", "demo", "--seed", "0"]
    small += ["--backbone", "demo_net", "--backbone-weights", "none"]
    places = ["--data-root", str(place.data), "--store", str(place.store)]
    flags = ["--config", str(path), "--out", str(tmp_path / "run"), *small, *places]
    assert main(["run", *flags, "--dry-run", "--json"]) == 0
    captured = capsys.readouterr()
    cells = json.loads(captured.out)["cells"]
    benchmark = load_benchmark(path, {})
    now = {"resnet", *benchmark.defenses}
    attacked = len(benchmark.attacks) * len(benchmark.eps)
    assert len(cells) == len(now) * (1 + attacked)
