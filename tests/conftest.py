"""Fixtures of every test folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as ``iqabench.cli.main`` does, and why
collect_ignore = ["plugin_example"]
"""A package of its own: ``test_plugin_example.py`` installs it."""

InstallPlugin = Callable[..., Path]


@pytest.fixture
def install_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstallPlugin]:
    """Make a distribution visible without pip: ``install_plugin(dist, entry points, modules)``.

    Entry points are ``{group: {name: "module:Class"}}`` and modules ``{name: source}``.
    """
    modules: set[str] = set()

    def install(
        dist: str,
        points: Mapping[str, Mapping[str, str]],
        sources: Mapping[str, str],
        *,
        version: str = "1.0",
    ) -> Path:
        site = tmp_path / f"site-{dist}"
        info = site / f"{dist.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        header = f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n"
        (info / "METADATA").write_text(header)
        lines = [
            line
            for group, names in points.items()
            for line in (f"[{group}]", *(f"{name} = {value}" for name, value in names.items()))
        ]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for name, source in sources.items():
            (site / f"{name}.py").write_text(source)
        modules.update(sources)
        monkeypatch.syspath_prepend(str(site))
        return site

    yield install
    for name in modules:  # or a second test would get the first one's module
        sys.modules.pop(name, None)
