from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from iqabench.config import Conditions, check_eps, load_benchmark
from iqabench.errors import ConfigError, UnknownNameError
from iqabench.recipes import Recipe


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(path: Path, **document: object) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


def test_the_default_benchmark_is_the_file_at_the_root() -> None:
    root = Path(__file__).parents[1] / "benchmark.yaml"
    benchmark = load_benchmark(None, {})
    assert benchmark == load_benchmark(root, {})
    assert benchmark.reference == "resnet"
    assert benchmark.recipes["paper"] == Recipe()  # the paper's protocol is the default recipe
    assert benchmark.conditions() == Conditions("paper", "resnet50", "imagenet")


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.yaml", eps=[3], seeds=[1, 2], reference=None)
    benchmark = load_benchmark(path, {"eps": [8], "batch_size": 2})
    assert benchmark.eps == (8.0,)
    assert (benchmark.seeds, benchmark.reference, benchmark.batch_size) == ([1, 2], None, 2)
    assert benchmark.attacks == load_benchmark(None, {}).attacks


def test_a_file_in_the_working_directory_is_found(tmp_path: Path) -> None:
    write(tmp_path / "benchmark.yaml", eps=7)
    assert load_benchmark(None, {}).eps == (7.0,)


def test_mappings_are_merged_and_lists_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.yaml", recipes={"light": {"epochs": 9}}, attacks="fgsm")
    benchmark = load_benchmark(path, {})
    default = load_benchmark(None, {})
    assert benchmark.recipes["light"] == default.recipes["light"].model_copy(update={"epochs": 9})
    assert benchmark.attacks == ["fgsm"]


def test_a_flag_for_the_backbone_speaks_for_every_data_set() -> None:
    assert load_benchmark(None, {}).conditions("demo") == Conditions("demo", "demo_net", "none")
    cases: list[tuple[dict[str, Any], Conditions]] = [
        ({"backbone": "resnet18"}, Conditions("demo", "resnet18", "none")),
        ({"recipe": "light"}, Conditions("light", "demo_net", "none")),
        ({"backbones": {"resnet": "vgg16"}}, Conditions("demo", "demo_net", "none")),
        ({"backbone_weights": "w.pth"}, Conditions("demo", "demo_net", "w.pth")),
        ({"backbone": "vgg16", "backbone_weights": "none"}, Conditions("demo", "vgg16", "none")),
    ]
    for flags, expected in cases:
        assert load_benchmark(None, flags).conditions("demo") == expected


def test_a_defense_may_have_a_backbone_of_its_own() -> None:
    own: dict[str, Any] = {"backbones": {"nima": "vgg16"}}
    assert load_benchmark(None, own).conditions("live").backbones == {"nima": "vgg16"}
    assert load_benchmark(None, own).conditions("demo").backbones == {}  # demo says demo_net
    asked = load_benchmark(None, own | {"backbone": "resnet18"})
    assert asked.conditions("live").backbones == {}


def test_a_list_of_data_sets_keeps_these_alone_and_a_bare_key_keeps_its_settings(
    tmp_path: Path,
) -> None:
    default = load_benchmark(None, {})
    some = load_benchmark(write(tmp_path / "list.yaml", datasets=["demo", "other"]), {})
    assert list(some.datasets) == ["demo", "other"]
    assert some.conditions("demo") == default.conditions("demo")
    bare = load_benchmark(write(tmp_path / "bare.yaml", datasets={"demo": None}, recipes=None), {})
    assert bare == default


def test_who_names_defenses_wants_these_and_no_others(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.yaml", if_installed=["later"])
    assert load_benchmark(path, {}).if_installed == ["later"]
    assert load_benchmark(path, {"defenses": ["resnet"]}).if_installed == []


def test_a_data_root_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = write(tmp_path / "mine.yaml", data_root="~/images")
    assert load_benchmark(path, {}).data_root == tmp_path / "images"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"epz": [1]}, r"unknown key 'epz'. Did you mean 'eps'\?"),
        ({"recipes": {"light": {"epoch": 3}}}, r"'recipes.light.epoch'. Did you mean 'epochs'\?"),
        ({"datasets": {"demo": {"recip": "x"}}}, r"'datasets.demo.recip'. Did you mean 'recipe'"),
        ({"attacks": ["fgsm", 3]}, r"attacks\[1\]: input should be a valid string"),
        ({"attacks": []}, "attacks: list should have at least 1 item"),
        ({"seeds": [0, -1]}, r"seeds\[1\]: input should be greater than or equal to 0"),
        ({"batch_size": 0}, "batch_size: input should be greater than or equal to 1"),
        ({"eps": [1, "x"]}, "eps 'x' is not a number"),
        ({"recipes": {"light": {"crop": 999}}}, "must not be larger than resize"),
        ({"recipes": {"light": {"lr": math.inf}}}, "recipes.light.lr"),
        ({"reference": 3}, "reference: input should be a valid string"),
    ],
    ids=str,
)
def test_a_bad_key_or_value_is_named_with_its_path(
    tmp_path: Path, document: dict[str, object], message: str
) -> None:
    path = write(tmp_path / "mine.yaml", **document)
    with pytest.raises(ConfigError, match=message) as caught:
        load_benchmark(path, {"eps": [1.0]})
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "is no valid YAML"), ("- a\n", "must be a mapping"), ("\x00", "no valid YAML")],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_benchmark(path, {})


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_benchmark(tmp_path / "none.yaml", {})


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("# nothing\n")
    assert load_benchmark(path, {}) == load_benchmark(None, {})


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "256", "1e9", "", "four", "1;2", True, None])
def test_what_is_no_radius_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="eps"):
        check_eps([value])


def test_radii_are_sorted_and_each_is_kept_once() -> None:
    assert check_eps(["4", 1, "1.0", 0.5, -0.0, 0]) == (0.0, 0.5, 1.0, 4.0)
    with pytest.raises(ConfigError, match="empty"):
        check_eps([])


def test_an_unknown_recipe_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'paper'\?"):
        load_benchmark(None, {}).get_recipe("papers")


@pytest.mark.parametrize("schedule", ["cosine", "onecycle", "constant"])
def test_schedules_stay_between_their_ends(schedule: str) -> None:
    recipe = Recipe.model_validate({"lr": 1e-3, "final_lr": 1e-5, "schedule": schedule})
    rates = [recipe.learning_rate(step, 100) for step in range(100)]
    assert max(rates) == pytest.approx(1e-3)
    assert min(rates) >= 1e-5
    if schedule == "cosine":
        assert rates[0] == pytest.approx(1e-3)
        assert rates == sorted(rates, reverse=True)
        assert recipe.learning_rate(50, 100) == pytest.approx((1e-3 + 1e-5) / 2)
    if schedule == "onecycle":
        assert rates[0] == pytest.approx(4e-5)
        assert rates.index(max(rates)) == 30
