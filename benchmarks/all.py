"""Every speed benchmark, one process after the other; fills the table of docs/performance.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from timing import Row, table

HERE = Path(__file__).parent
NAMES = ("sweeps", "cprl_activation", "planning", "report_cells", "peak_memory")
BEGIN, END = "<!-- measured: python benchmarks/all.py --update -->\n", "<!-- end -->\n"
PAGE = HERE.parent / "docs" / "performance.md"


def main() -> None:
    """Run what is asked for and show, or write, what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="some of them")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    parser.add_argument("--repeats", type=int, help="rounds, in place of each one's own")
    parser.add_argument("--quick", action="store_true", help="small sizes: do they run?")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--update", action="store_true", help=f"replace the table of {PAGE.name}")
    arguments = parser.parse_args()
    flags = ["--json", "--threads", str(arguments.threads)]
    flags += ["--quick"] if arguments.quick else []
    flags += ["--repeats", str(arguments.repeats)] if arguments.repeats else []
    documents = [_run(name, flags) for name in arguments.only]
    rows = [row for document in documents for row in document["rows"]]
    whole = {"machine": documents[0]["machine"], "rows": rows}
    if arguments.update:
        _update(whole)
    if arguments.json:
        sys.stdout.write(json.dumps(whole, indent=2) + "\n")
    else:
        sys.stdout.write(_text(whole))


def _run(name: str, flags: list[str]) -> dict[str, Any]:
    command = [sys.executable, str(HERE / f"{name}.py"), *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _text(whole: dict[str, Any]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in whole["machine"].items())
    return f"{facts}.\n\n" + table([Row(**row) for row in whole["rows"]])


def _update(whole: dict[str, Any]) -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + "\n" + _text(whole) + "\n" + END + after)


if __name__ == "__main__":
    main()
