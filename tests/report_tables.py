"""Reading the tables of ``report.html`` in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Open = Callable[..., Any]
"""Opens the page at an address, with settings of the browser."""


def board(page: Any, number: int = 0) -> Any:
    """Return one leaderboard table."""
    return page.locator("table.leaderboard").nth(number)


def names(table: Any) -> list[str]:
    """Return the defenses of a table, in the order in which they stand."""
    found: list[str] = table.locator("tbody tr th a").all_inner_texts()
    return found


def column(table: Any, heading: str) -> list[float]:
    """Return the numbers of a column, from the top."""
    headings = table.locator("thead th").all_inner_texts()
    place = next(i for i, text in enumerate(headings) if text.split("\n")[0].strip() == heading)
    cells = table.locator(f"tbody tr > :nth-child({place + 1})").all_inner_texts()
    return [float(cell.split("\n")[0].replace("\N{MINUS SIGN}", "-")) for cell in cells]


def header(table: Any, text: str) -> Any:
    return table.locator("thead th", has_text=re.compile(f"^{text}"))
