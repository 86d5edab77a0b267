"""``iqabench show NAME``: one component."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from iqabench.cli.console import print_json
from iqabench.cli.describe import describe
from iqabench.errors import AmbiguousNameError, UnknownNameError
from iqabench.registry import ATTACKS, DATASETS, DEFENSES, Registry


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; a name that several kinds have is shown for each."""
    found = _find(arguments.name)
    if arguments.json:
        print_json(found[0] if len(found) == 1 else found)
        return 0
    for facts in found:
        sys.stdout.write(_text(facts))
    return 0


def _find(name: str) -> list[dict[str, Any]]:
    registries: tuple[Registry[Any], ...] = (DEFENSES, ATTACKS, DATASETS)
    found: list[dict[str, Any]] = []
    known: list[str] = []
    for registry in registries:
        known += registry.names()
        try:
            registry.entry(name)
        except AmbiguousNameError:
            raise
        except UnknownNameError:
            continue
        found.append(describe(registry, name))
    if not found:
        raise UnknownNameError.of("component", name, known)
    return found


def _text(facts: dict[str, Any]) -> str:
    year = f" ({facts['year']})" if facts["year"] else ""
    lines = [
        f"{facts['name']}: {facts['summary']}",
        f"  kind    {facts['kind']}",
        f"  paper   {facts['paper'] or 'none'}{year}",
        f"  from    {facts['from']}",
    ]
    extra = ("threat_model", "access", "wraps", "changes_training", "homepage", "licence")
    lines += [f"  {key.replace('_', ' ')}  {facts[key]}" for key in extra if key in facts]
    if facts.get("routes"):
        draws = "draws random numbers; " if facts["stochastic"] else ""
        lines.append(f"  attacked  {draws}gradient routes: {', '.join(facts['routes'])}")
    lines.append("  parameters" + ("" if facts["parameters"] else "  none"))
    lines += [
        f"    {name} = {p['default']}  ({p['type']})" for name, p in facts["parameters"].items()
    ]
    lines += ["", *(f"  {line}".rstrip() for line in facts["text"].splitlines()), ""]
    return "\n".join(lines) + "\n"
