"""``iqabench new``: what it writes keeps the contract, and what it refuses leaves nothing."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import yaml
from fresh_environment import LIMIT, Environment, missing_tools
from support import write_biq2021, write_config

from iqabench import files
from iqabench.cli import main
from iqabench.errors import OutputError
from iqabench.skeletons.package import LONGEST, Kind, Skeleton, plan

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
KINDS: tuple[Kind, ...] = get_args(Kind)
LONG = "abcdefgh-jklmnopq_stuvwx"


@pytest.fixture(autouse=True)
def forget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in an empty folder, and forget what was imported from it."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("iqabench_", "test_")):
            del sys.modules[name]


def load(skeleton: Skeleton, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import the tests of a package that was written."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.syspath_prepend(str(folder / "tests"))
    importlib.invalidate_caches()
    # By its path: one of our own tests may have the same name (test_noise).
    path = next(folder.rglob(f"test_{skeleton.module}.py"))
    spec = spec_from_file_location(f"made_{skeleton.module}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["foo", "My-own_net2", "eps", "objective", "image", "MAP", "NAME", "LABELS"]
)
def test_what_is_written_keeps_its_contract(
    kind: Kind, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["new", kind, name, "--out", "made"]) == 0
    skeleton = plan(kind, name)
    document = tomllib.loads(Path("made/pyproject.toml").read_text())
    (points,) = document["project"]["entry-points"].items()
    value = f"{skeleton.package}.{skeleton.module}:{skeleton.class_name}"
    assert points == (f"iqabench.{kind}s", {name: value})
    tests = load(skeleton, tmp_path / "made", monkeypatch)
    if kind == "dataset":
        tests.test_the_data_set_keeps_the_contract(tmp_path / "data")
    else:
        getattr(tests, f"test_the_{kind}_keeps_the_contract")()
    component = getattr(import_module(f"{skeleton.package}.{skeleton.module}"), skeleton.class_name)
    assert component.__module__ == f"{skeleton.package}.{skeleton.module}"


def test_ruff_has_nothing_to_say_about_short_and_long_names() -> None:
    pytest.importorskip("ruff")
    assert len(LONG) == LONGEST
    for kind in KINDS:
        for name in ("x", "foo", "eps", "Test-net", LONG):
            assert main(["new", kind, name, "--out", f"{kind}-{name}"]) == 0
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    chosen = ("--extend-select", ",".join(ours["select"]), "--ignore", ",".join(ours["ignore"]))
    google = ("--config", "lint.pydocstyle.convention = 'google'")
    tests = ("--per-file-ignores", "**/tests/**:D")
    for arguments in (("check", *chosen, *google, *tests), ("format", "--check")):
        command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", "."]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr


def test_the_command_says_what_it_wrote_and_what_comes_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["new", "attack", "My_step"]) == 0
    shown = capsys.readouterr().out
    assert "pip install -e './iqabench-my-step[test]'\n" in shown
    assert "iqabench run --defense resnet --attack My_step" in shown
    readme = Path("iqabench-my-step/README.md").read_text()
    for command in plan("attack", "My_step").commands():
        assert f"$ {command}\n" in readme
    assert main(["new", "dataset", "foo", "--out", "a b", "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["class"] == "iqabench_foo.foo:Foo"
    assert document["commands"][0] == "pip install -e './a b[test]'"
    written = {str(p.relative_to("a b")) for p in Path("a b").rglob("*") if p.is_file()}
    assert written == set(document["files"])
    assert sorted(p.name for p in Path().iterdir()) == ["a b", "iqabench-my-step"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["defense", "class"], "'class': it is a keyword of Python"),
        (["attack", "Lambda"], "it is a keyword of Python"),
        (["dataset", "none"], "it is a keyword of Python"),
        (["defense", "off"], "'off': benchmark.yaml would not read it as text"),
        (["defense", "resnet"], "'resnet' is a built-in defense"),
        (["defense", "Score-Reflection"], "'score_reflection' is a built-in attack"),
        (["attack", "demo"], "'demo' is a built-in data set"),
        (["defense", "batch_score"], "'batch_score' is a built-in defense"),
        (["defense", "2net"], "starting with a letter"),
        (["defense", "a.b"], "use letters, digits"),
        (["defense", "a+b"], "use letters, digits"),
        (["defense", "acme/foo"], "use letters, digits"),
        (["defense", "../foo"], "use letters, digits"),
        (["defense", "foo-"], "ending with a letter or digit"),
        (["defense", "_foo"], "starting with a letter"),
        (["defense", "größe"], "use letters, digits"),
        (["defense", "foo\n"], "use letters, digits"),
        (["defense", ""], "use letters, digits"),
        (["defense", "x" * (LONGEST + 1)], "longer than"),
        (["wrapper", "foo"], "invalid choice: 'wrapper'"),
        (["defense"], "NAME"),
    ],
)
def test_a_name_that_cannot_be_is_one_line_and_leaves_nothing(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert list(Path().iterdir()) == []


def test_a_name_whose_package_is_installed_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"iqabench-clip": "0.3"}

    def version(name: str) -> str:
        if name not in found:
            raise PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr("iqabench.skeletons.package.version", version)
    assert main(["new", "attack", "clip"]) == 2
    assert "iqabench-clip 0.3 is installed" in capsys.readouterr().err
    assert not Path("iqabench-clip").exists()


def test_a_folder_with_something_in_it_is_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Path("iqabench-foo").mkdir()
    Path("iqabench-foo/mine.txt").write_text("mine")
    Path("file").write_text("mine")
    Path("gone").symlink_to("nowhere")
    for flags in ([], ["--out", "file"], ["--out", "gone"], ["--out", "file/inside"]):
        assert main(["new", "defense", "foo", *flags]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert sorted(str(p) for p in Path().rglob("*")) == [
        "file",
        "gone",
        "iqabench-foo",
        "iqabench-foo/mine.txt",
    ]


def test_an_empty_folder_is_filled_also_the_working_directory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["new", "defense", "foo", "--out", "."]) == 0
    assert "pip install -e '.[test]'" in capsys.readouterr().out
    names = ["README.md", "iqabench_foo", "pyproject.toml", "tests"]
    assert sorted(p.name for p in Path().iterdir()) == names
    assert main(["new", "defense", "foo", "--out", "."]) == 2


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_cannot_be_finished_leaves_nothing(there: bool, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    if there:
        folder.mkdir()

    def fill(place: Path) -> None:
        (place / "first").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        files.new_folder(folder, fill)
    assert list(tmp_path.rglob("*")) == ([folder] if there else [])


@pytest.mark.slow
def test_mypy_strict_has_nothing_to_say_about_what_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("mypy")
    for kind in KINDS:
        assert main(["new", kind, f"my-{kind}"]) == 0
    paths = [f"iqabench-my-{kind}" for kind in KINDS]
    monkeypatch.setenv("MYPYPATH", ":".join([str(ROOT), *paths]))
    quiet = ("--strict", "--follow-imports=silent", "--cache-dir", "cache")
    command = [sys.executable, "-m", "mypy", *quiet, *paths]
    found = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.slow
def test_a_new_defense_is_installed_and_run(tmp_path: Path) -> None:
    if reason := missing_tools():
        pytest.skip(f"{reason}, so nothing can be installed without a network")
    environment = Environment(tmp_path)
    written = environment.iqabench("new", "defense", "foo")
    environment.install(tmp_path / written["folder"])
    assert "1 passed" in environment.run("-m", "pytest", "-q", "iqabench-foo")
    write_biq2021(tmp_path / "data")
    places = {"data_root": "data", "attacks": ["fgsm"], "eps": [1]}
    write_config(tmp_path / "benchmark.yaml", **places)

    environment.run("-m", "iqabench", "run", "--defense", "foo")

    board = json.loads((tmp_path / "runs" / "default" / "leaderboard.json").read_text())
    (group,) = board["datasets"]
    assert {entry["label"] for entry in group["entries"]} == {"resnet", "iqabench-foo/foo"}
    assert group["failures"] == []
    (standing,) = group["standings"]
    rows = {row["defense"]: row["results"] for row in standing["rows"]}
    (result,) = rows["iqabench-foo/foo"]
    assert result["error"] is None
    assert -1 <= result["measures"]["srocc"]["value"] <= 1


@pytest.mark.slow
def test_a_new_attack_and_data_set_run_together_with_a_new_defense(tmp_path: Path) -> None:
    if reason := missing_tools():
        pytest.skip(f"{reason}, so nothing can be installed without a network")
    environment = Environment(tmp_path)
    for kind in KINDS:
        written = environment.iqabench("new", kind, f"my-{kind}")
        environment.install(tmp_path / written["folder"])
    biq2021 = write_biq2021(tmp_path)
    folder = biq2021.rename(tmp_path / "my-dataset")
    lines = ["image,mos"]
    for name in ("Train", "Test"):
        table = (folder / f"{name} (Images and MOS).csv").read_text().splitlines()[1:]
        pairs = [line.split(",")[:2] for line in table]
        lines += [f"{image},{100 * float(mos):g}" for image, mos in pairs]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    environment.run("-m", "iqabench", "data", "check", "my-dataset", "--data-root", ".")
    config = write_config(tmp_path / "tiny.yaml", eps=[1])
    document = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(document | {"data_root": str(tmp_path)}))
    chosen = ("--defense", "my-defense", "--attack", "my-attack", "--dataset", "my-dataset")
    environment.iqabench("run", *chosen, "--config", "tiny.yaml", "--no-reference")
    board = json.loads((tmp_path / "runs" / "default" / "leaderboard.json").read_text())
    (group,) = board["datasets"]
    assert group["failures"] == []
    assert [a["label"] for a in group["attacks"]] == ["iqabench-my-attack/my-attack"]
    assert [e["label"] for e in group["entries"]] == ["iqabench-my-defense/my-defense"]
