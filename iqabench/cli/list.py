"""``iqabench list``: what is installed."""

from __future__ import annotations

import argparse
from typing import Any

from rich.table import Table

from iqabench.backbones import BACKBONES
from iqabench.cli.console import data_console, print_json
from iqabench.cli.describe import describe
from iqabench.errors import IqabenchError
from iqabench.registry import ATTACKS, DATASETS, DEFENSES, Registry
from iqabench.suites import suites


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; a plugin that does not load is shown with the reason."""
    registries: tuple[Registry[Any], ...] = (DEFENSES, ATTACKS, DATASETS)
    found = {
        registry.kind: [_try_describe(registry, name) for name in registry.names()]
        for registry in registries
    }
    if arguments.json:
        document: dict[str, Any] = {f"{k.replace(' ', '')}s": v for k, v in found.items()}
        named = [{"name": s.name, "members": list(s.members)} for s in suites().values()]
        print_json(document | {"suites": named, "backbones": list(BACKBONES)})
        return 0
    console = data_console()
    for kind, rows in found.items():
        table = Table(title=f"{kind}s", title_justify="left", show_header=False)
        for row in rows:
            shown = row["error"] if "error" in row else f"{row['summary']}"
            table.add_row(row["name"], shown)
        console.print(table)
    table = Table(title="suites of attacks", title_justify="left", show_header=False)
    for suite in suites().values():
        table.add_row(suite.name, suite.summary)
    console.print(table)
    console.print(f"backbones: {', '.join(BACKBONES)}", soft_wrap=True)
    return 0


def _try_describe(registry: Registry[Any], name: str) -> dict[str, Any]:
    try:
        return describe(registry, name)
    except IqabenchError as e:
        return {"name": name, "error": str(e)}
