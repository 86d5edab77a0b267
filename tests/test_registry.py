"""Names, what claims them, and plugins that misbehave; distributions are made without pip."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from iqabench.cli import main
from iqabench.errors import (
    AmbiguousNameError,
    IqabenchError,
    ParamError,
    PluginLoadError,
    UnknownNameError,
)
from iqabench.registry import ATTACKS, DATASETS, DEFENSES, Registry
from iqabench.specs import parse

Install = Callable[..., Path]
GROUP = "iqabench.attacks"
SOURCE = """
from __future__ import annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING
from iqabench.api import Attack, state
if TYPE_CHECKING:
    from torch import Tensor

@dataclass(frozen=True, kw_only=True)
class Nothing(Attack):
    summary = "moves nothing"
    access = "none"
    share: float = 0.5
    name: str = "a"
    steps: int | None = None

    def perturb(self, regressor, images, mos, eps, noise):
        return images

@dataclass(frozen=True, kw_only=True)
class Fgsm(Nothing):
    summary = "not the built-in"

@dataclass(frozen=True, kw_only=True)
class Silent(Attack):
    def perturb(self, regressor, images, mos, eps, noise):
        return images

@dataclass(frozen=True, kw_only=True)
class Typed(Nothing):
    summary = "its state has a type for type checkers alone"
    pattern: Tensor | None = state()

@dataclass(frozen=True, kw_only=True)
class Puzzling(Nothing):
    summary = "its parameter has such a type"
    start: Tensor | None = None

class Undecorated(Nothing):
    share = 0.7

def function():
    pass
"""


def create(spec: str, registry: Registry[Any] = ATTACKS) -> Any:
    return registry.create(parse(spec)[0])


@pytest.fixture
def acme(install_plugin: Install) -> Path:
    """A distribution with a good attack and several that cannot be used."""
    points = {
        "nothing": "acme_iqa:Nothing",
        "fgsm": "acme_iqa:Fgsm",
        "gone": "acme_missing:Attack",
        "renamed": "acme_iqa:Renamed",
        "silent": "acme_iqa:Silent",
        "typed": "acme_iqa:Typed",
        "puzzling": "acme_iqa:Puzzling",
        "function": "acme_iqa:function",
        "defense": "iqabench.api:Defense",
        "broken": "acme_broken:Attack",
    }
    sources = {"acme_iqa": SOURCE, "acme_broken": "raise RuntimeError('no licence key')"}
    return install_plugin("Acme.IQA", {GROUP: points}, sources, version="2.1")


def test_a_plugin_is_found_and_built_by_name(acme: Path) -> None:
    assert "nothing" in ATTACKS.names()
    named = create("nothing:share=0.25")
    assert named.component.summary == "moves nothing"
    assert named.component.share == 0.25
    assert Path(str(metadata.distribution("acme-iqa").locate_file(""))) == acme


def test_the_canonical_name_of_a_plugin_holds_its_distribution(acme: Path) -> None:
    named = create("nothing:share=0.25")
    assert named.canonical == "acme-iqa/nothing:name=a,share=0.25,steps=none"
    assert named.label == "acme-iqa/nothing:share=0.25"
    assert named.identity == "acme-iqa==2.1/nothing@1"
    assert create(named.canonical).component == named.component
    assert create("Acme_IQA/nothing").name == "acme-iqa/nothing"


def test_a_built_in_has_neither_distribution_nor_release_in_its_name() -> None:
    named = create("fgsm")
    assert named.canonical == "fgsm:objective=mse,threshold=0.5"
    assert named.label == "fgsm"
    assert named.identity == "iqabench/fgsm@1"


def test_a_plugin_does_not_displace_a_built_in_and_stays_within_reach(acme: Path) -> None:
    assert create("fgsm").identity == "iqabench/fgsm@1"
    assert create("iqabench/fgsm").identity == "iqabench/fgsm@1"
    assert create("acme-iqa/fgsm").component.summary == "not the built-in"
    assert {"fgsm", "acme-iqa/fgsm"} <= set(ATTACKS.names())


def test_a_broken_plugin_breaks_only_itself(acme: Path) -> None:
    for name in ATTACKS.names():
        if name not in ("gone", "renamed", "silent", "function", "defense", "broken"):
            assert issubclass(ATTACKS.get(name), ATTACKS.bases)
    assert {"gone", "broken"} <= set(ATTACKS.names())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone", "failed to load: No module named 'acme_missing'"),
        ("broken", "failed to load: no licence key"),
        ("renamed", "has no attribute 'Renamed'"),
        ("silent", "declares no summary (class attributes)"),
        ("function", "not a class derived from Attack"),
        ("defense", "not a class derived from Attack"),
    ],
)
def test_what_cannot_be_loaded_says_whose_it_is_and_why(acme: Path, name: str, reason: str) -> None:
    with pytest.raises(PluginLoadError, match=re.escape(reason)) as caught:
        ATTACKS.get(name)
    assert str(caught.value).startswith(f"attack {name!r} (Acme.IQA 2.1: ")
    assert caught.value.exit_code == 1


def test_only_the_types_of_parameters_have_to_be_found(acme: Path) -> None:
    assert create("typed:steps=2").component.steps == 2
    with pytest.raises(PluginLoadError, match=r"type of the parameter 'start' cannot be found"):
        create("puzzling:steps=2")


def test_a_broken_plugin_does_not_stop_the_lists(
    acme: Path, install_plugin: Install, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    install_plugin("sets-iqa", {"iqabench.datasets": {"gone": "no_such_module:Gone"}}, {})
    assert main(["list"]) == 0
    assert "cannot be found" in " ".join(capsys.readouterr().out.split())
    assert main(["data", "list", "--json", "--store", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert {row["name"] for row in json.loads(captured.out)} >= {"biq2021", "demo"}
    assert "No module named 'no_such_module'" in captured.err


def test_two_plugins_with_one_name_are_told_apart_by_distribution(install_plugin: Install) -> None:
    for dist in ("acme", "bolt"):
        source = SOURCE.replace("moves nothing", f"by {dist}")
        install_plugin(dist, {GROUP: {"nothing": f"{dist}_iqa:Nothing"}}, {f"{dist}_iqa": source})
    with pytest.raises(AmbiguousNameError, match="acme/nothing") as caught:
        create("nothing")
    assert "bolt/nothing" in str(caught.value)
    assert caught.value.exit_code == 2
    assert create("bolt/nothing").component.summary == "by bolt"
    assert {"acme/nothing", "bolt/nothing"} <= set(ATTACKS.names())
    assert "nothing" not in ATTACKS.names()


def test_names_import_nothing(acme: Path) -> None:
    import sys

    assert "broken" in ATTACKS.names()
    assert not {"acme_iqa", "acme_broken"} & set(sys.modules)


def test_an_unknown_name_is_answered_with_the_closest_one() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown attack 'fgms'\. Did you mean 'fgsm'\?"):
        create("fgms")
    with pytest.raises(UnknownNameError, match="There are: .*pgd.*pip install -e"):
        create("nowhere/fgsm")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nothing:shares=1", r"has no parameter 'shares'.*Did you mean 'share'\?"),
        ("nothing:share=much", r"share=much: input should be a valid number"),
        ("nothing:share=nan", r"share=nan: must be a finite number"),
        ("nothing:share=none", r"share=none: input should be a valid number"),
        ("nothing:steps=1.5", r"steps=1.5: .*integer"),
        ("nothing:0.5", r"'0.5' needs a key \(key=value\); it takes: share, name, steps"),
        ("pgd:steps=1_0", r"steps=1_0: must be a number, written without _"),
        ("pgd:steps=0", r"attack 'pgd': steps must be at least 1, got 0"),
        ("fgsm:facts=1", r"has no parameter 'facts'"),
    ],
)
def test_a_wrong_parameter_is_refused_in_one_line(acme: Path, spec: str, message: str) -> None:
    with pytest.raises(ParamError, match=message) as caught:
        create(spec)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, IqabenchError)


def test_a_quoted_none_is_text_and_a_bare_one_is_nothing(acme: Path) -> None:
    assert create("nothing:name='none',steps=none").component.parameters() == {
        "share": 0.5,
        "name": "none",
        "steps": None,
    }


@pytest.mark.parametrize("registry", [ATTACKS, DATASETS, DEFENSES], ids=lambda r: str(r.kind))
def test_the_names_of_the_installed_metadata_are_those_of_pyproject(
    registry: Registry[Any],
) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    written = set(tomllib.loads(text)["project"]["entry-points"][registry.group])
    installed = {
        p.name for p in metadata.distribution("iqabench").entry_points.select(group=registry.group)
    }
    assert written == installed, "run 'pip install -e .' again"
