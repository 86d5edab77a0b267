"""A browser, and the page that it opens; only what asks for them needs one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from leaderboard_runs import FakeRow
from report_runs import EVIL, QUOTED, audit, card, saved, write_commands, write_json

from iqabench.leaderboard.html import to_html
from iqabench.leaderboard.load import load_board

REVERSED = (4, 3, 2, 1, -1, -2, -3, -4)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium for all tests of this file."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright (extra dev) is missing")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two data sets, four defenses with hostile names, three attacks and pictures."""
    run = tmp_path_factory.mktemp("run")
    for dataset, title, proxy in (("live", "LIVE", False), ("demo", f"Demo {EVIL}", True)):
        base = FakeRow(run, dataset=dataset, title=title, proxy=proxy)
        for number, name in enumerate(("resnet", "cprl:b=0.3", EVIL, QUOTED)):
            row = base.but(defense=name, reference=not number, recipe_key=f"{number}a" * 8)
            row = row.but(clean=tuple(x + number * (i % 3) for i, x in enumerate(row.clean)))
            write_row(row, with_pictures=dataset == "live" and number == 2)
    write_json(run / "audits" / "a.json", audit("cprl:b=0.3", 4.0, "masked"))
    write_json(run / "cards" / "a.json", card("1a" * 8))
    write_commands(run, ["run", "--attack", "fgsm"])
    path = run / "report.html"
    path.write_text(to_html(load_board(run)))
    return path


def write_row(row: FakeRow, *, with_pictures: bool) -> None:
    clean = np.asarray(row.clean)
    sign = np.where(np.asarray(row.mos) > 0.5, 1, -1)
    images = [saved(row.run, f"image{i}", 90 + i, 94 + i) for i in (0, 3, 7)]
    row.write()
    for eps in (1.0, 4.0):
        row.write("fgsm", eps, (clean - 0.1 * eps * sign).tolist())
        pushed = clean - eps * sign * np.arange(1, 9) / 4
        row.write("pgd", eps, pushed.tolist(), images=images if with_pictures else None)
        probing = row.but(about={"access": "black-box"})
        probing.write("square", eps, REVERSED if eps > 1 else None, label=f"square:{QUOTED}")


@pytest.fixture
def open_page(browser: Any, report: Path) -> Iterator[Callable[..., Any]]:
    """Open the page; at the end nothing may have failed, or been asked of a network."""
    problems: list[str] = []
    asked: list[str] = []
    contexts: list[Any] = []

    def opened(address: str = "", path: Path = report, **settings: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1500, "height": 900}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: note(message.type, message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri() + address)
        return page

    def note(kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            problems.append(text)

    yield opened
    for context in contexts:
        context.close()
    assert problems == []
    assert [
        url
        for url in asked
        if not re.match(r"about:blank|file:.*/report\.html|data:image/png;", url)
    ] == []
