"""Long and large reports in a real browser."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from leaderboard_runs import FakeRow
from report_tables import Open, board, names

from iqabench.leaderboard.html import to_html
from iqabench.leaderboard.load import load_board

pytest_plugins = ["report_browser"]


def test_a_long_table_has_pages_on_the_screen_and_none_on_paper(
    open_page: Open, tmp_path: Path
) -> None:
    for number in range(30):
        FakeRow(tmp_path, defense=f"cprl:b=0.{number:02}").write()
    path = tmp_path / "report.html"
    path.write_text(to_html(load_board(tmp_path)))
    page = open_page(path=path)
    table = board(page)
    assert len(names(table)) == 25
    page.locator(".dt-paging button", has_text="2").first.click()
    assert len(names(table)) == 5
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert len(names(table)) == 30
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert len(names(table)) == 25


PAINTED = "await new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
ACTIONS = {
    "filter": "const form = document.getElementById('filters');"
    "form.elements.defense.value = '0.1'; form.dispatchEvent(new Event('input'))",
    "sort": "document.querySelector('table.leaderboard th.lowest').click()",
    "open a defense": "location.hash = document.querySelector('table.leaderboard a').hash",
    "go back": "history.back()",
    "choose images": "const form = document.getElementById('image-choice');"
    "form.elements.defense.selectedIndex = 20; form.dispatchEvent(new Event('input'))",
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fifty_defenses_under_twenty_attacks_on_500_images_stay_usable(
    open_page: Open, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    mos = rng.uniform(size=500)
    base = FakeRow(tmp_path, mos=tuple(mos.tolist()), resamples=20)
    for number in range(50):
        clean = 6 * (mos - 0.5) + rng.normal(size=500)
        row = base.but(defense=f"cprl:b=0.{number:02}", clean=tuple(clean.tolist()))
        row = row.but(reference=not number, weights=f"{number:02}" * 32)
        row.write()
        for attack in range(5):
            for eps in (1.0, 2.0, 4.0, 8.0):
                push = eps * (attack + 1) / 4 * rng.uniform(size=500)
                row.write(
                    f"attack{attack}", eps, (clean - np.where(mos > 0.5, 1, -1) * push).tolist()
                )
    path = tmp_path / "report.html"
    path.write_text(to_html(load_board(tmp_path)))
    assert path.stat().st_size < 4_000_000
    empty = tmp_path / "empty" / "report.html"
    empty.parent.mkdir()
    empty.write_text("<!DOCTYPE html><title>Nothing</title><p>Nothing.</p>")
    page = open_page(path=empty)

    def seconds(action: Callable[[], object]) -> float:
        started = time.perf_counter()
        action()
        page.evaluate(f"(async () => {{ {PAINTED} }})()")
        return time.perf_counter() - started

    def loading(file: Path) -> float:
        times = []
        for _ in range(5):
            page.goto("about:blank")
            times.append(seconds(lambda: page.goto(file.as_uri())))
        return min(times)

    nothing = loading(empty)
    ratios = {"load": loading(path) / nothing}
    assert page.locator("#filter-status").inner_text() == "200 of 200 rows shown."
    for name, code in ACTIONS.items():
        ratios[name] = seconds(functools.partial(page.evaluate, f"() => {{ {code} }}")) / nothing
    assert ratios.pop("load") < 50, ratios
    assert max(ratios.values()) < 10, ratios
