"""A fresh virtual environment to install plugins into, without a network."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Any

LIMIT = 400
FROM_HERE = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")


class Environment:
    """A fresh virtual environment that sees the packages of this one but installs into itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        subprocess.run(
            [sys.executable, "-m", "venv", str(folder / "venv")], check=True, timeout=LIMIT
        )
        here = sysconfig.get_paths()["purelib"]
        there = self.run("-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])")
        site = Path(there.strip())
        for bundled in (*site.glob("setuptools*"), *site.glob("*distutils*")):
            # Older Pythons bundle one that cannot build a wheel by itself.
            shutil.rmtree(bundled) if bundled.is_dir() else bundled.unlink()
        # addsitedir, not a bare path, so that an editable install of iqabench is seen as well.
        line = f"import site; site.addsitedir({here!r})\n"
        (site / "packages-of-the-tests.pth").write_text(line)

    def run(self, *arguments: str, code: int = 0) -> str:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "IQABENCH"))}
        found = subprocess.run(
            [str(self.python), *arguments],
            cwd=self.folder,
            env=kept | {"OMP_NUM_THREADS": "1", "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert found.returncode == code, found.stdout + found.stderr
        return found.stdout

    def install(self, source: Path) -> None:
        self.run("-m", "pip", "install", "--quiet", *FROM_HERE, str(source))

    def iqabench(self, *arguments: str) -> Any:
        return json.loads(self.run("-m", "iqabench", *arguments, "--json"))


def missing_tools() -> str | None:
    for module in ("setuptools", "venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not there"
    version = metadata.version("setuptools")
    if tuple(map(int, version.split(".")[:2])) < (70, 1) and not importlib.util.find_spec("wheel"):
        return f"setuptools {version} builds no wheel by itself"
    return None
