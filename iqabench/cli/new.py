"""``iqabench new``: write a plugin package to start from."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from iqabench.cli.console import print_json
from iqabench.skeletons.package import plan


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; it prints what was written and what to do next."""
    skeleton = plan(arguments.kind, arguments.name)
    folder: Path = arguments.out or Path(skeleton.distribution)
    skeleton.write(folder)
    commands = skeleton.commands(str(folder))
    if arguments.json:
        print_json(
            {
                "kind": skeleton.kind,
                "name": skeleton.name,
                "distribution": skeleton.distribution,
                "class": f"{skeleton.package}.{skeleton.module}:{skeleton.class_name}",
                "folder": str(folder),
                "files": sorted(skeleton.files()),
                "commands": commands,
            }
        )
        return 0
    lines = [
        f"{folder}: the {skeleton.noun} {skeleton.name}, ready to be installed, checked and run:",
        *(f"  {command}" for command in commands),
        f"Then make it yours: {folder / skeleton.package / skeleton.module}.py",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0
