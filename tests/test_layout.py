from __future__ import annotations

import sys
from pathlib import Path

import pytest

from iqabench.registry import ATTACKS, DATASETS, DEFENSES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["attacks", "defenses", "leaderboard", "benchmark.yaml"])
def test_the_package_reaches_the_top_level_through_relative_links(name: str) -> None:
    link = ROOT / "iqabench" / name
    assert link.is_symlink(), f"{link} must be a link to ../{name} (docs/layout.md)"
    assert link.readlink() == Path("..") / name


@pytest.mark.parametrize("registry", [DEFENSES, ATTACKS, DATASETS], ids=lambda r: r.group)
def test_installed_names_match_pyproject(registry: object) -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = set(document["project"]["entry-points"][registry.group])  # type: ignore[attr-defined]
    missing = declared - set(registry.names())  # type: ignore[attr-defined]
    assert not missing, f"{missing} not installed: run 'pip install -e .' again"


@pytest.mark.parametrize("name", ["attacks", "defenses", "leaderboard"])
def test_a_folder_cannot_be_imported_as_a_package_of_its_own(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError, match=f"import 'iqabench.{name}'"):
        __import__(name)
