"""``report.html`` in a real browser: what a reader sees, hears, clicks and prints."""

from __future__ import annotations

import functools
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from leaderboard_runs import FakeRow
from report_runs import EVIL, audit, card, saved, write_commands, write_json

from iqabench.leaderboard.curves import DARK, LIGHT
from iqabench.leaderboard.html import to_html
from iqabench.leaderboard.load import load_board

AXE = Path(__file__).parent.parent / "vendor" / "axe.min.js"
REVERSED = (4, 3, 2, 1, -1, -2, -3, -4)
QUOTED = 'a"b'
Open = Callable[..., Any]


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
def open_page(browser: Any, report: Path) -> Iterator[Open]:
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


def test_a_click_or_a_key_on_a_heading_sorts_the_rows(open_page: Open) -> None:
    table = board(open_page())
    first = names(table)

    def wait(order: str) -> None:
        table.locator(f"thead th[aria-sort={order}]").wait_for()

    clean = header(table, "Clean")
    clean.click()
    wait("descending")
    values = column(table, "Clean")
    assert len(set(values)) > 1
    assert values == sorted(values, reverse=True)
    clean.get_by_role("button").focus()
    table.page.keyboard.press("Enter")
    wait("ascending")
    assert column(table, "Clean") == sorted(values)
    header(table, "Defense").click()
    table.locator("thead th.name[aria-sort=ascending]").wait_for()
    assert names(table) == sorted(first, key=str.lower)
    header(table, "Rank").click()
    table.locator("thead th.rank[aria-sort=ascending]").wait_for()
    ranks = column(table, "Rank")
    assert ranks == sorted(ranks)


def test_filters_choose_rows_tables_and_columns(open_page: Open) -> None:
    page = open_page()
    status = page.locator("#filter-status")
    assert status.inner_text() == "16 of 16 rows shown."
    page.get_by_label("Defense").first.fill("CPRL b=")
    assert names(board(page)) == ["cprl:b=0.3"]
    assert status.inner_text() == "4 of 16 rows shown."
    filters = page.locator("#filters")
    filters.locator("[name=data]").select_option("demo")
    assert page.locator("#data-demo").is_visible()
    assert not page.locator("#data-live").is_visible()
    assert status.inner_text() == "2 of 16 rows shown."
    filters.locator("[name=eps]").select_option("4")
    assert status.inner_text() == "1 of 16 rows shown."
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function(
        "document.getElementById('filter-status').textContent === '16 of 16 rows shown.'"
    )
    assert page.locator("#data-live").is_visible()


def test_an_attack_a_threat_model_and_columns_hide_columns(open_page: Open) -> None:
    page = open_page()
    table, filters = board(page), page.locator("#filters")

    def attacks() -> list[str]:
        found: list[str] = table.locator("thead th.attack .dt-column-title").all_inner_texts()
        return [text.split("\n")[0] for text in found]

    assert attacks() == ["fgsm", "pgd", f"square:{QUOTED}"]
    filters.locator("[name=attack]").select_option("pgd")
    assert attacks() == ["pgd"]
    assert page.locator(".curves .chart:not([hidden])").count() <= 2
    filters.locator("[name=attack]").select_option("")
    filters.locator("[name=threat]").select_option("linf, black-box")
    assert attacks() == [f"square:{QUOTED}"]
    filters.locator("[name=threat]").select_option("")
    assert header(table, "Clean").is_visible()
    filters.get_by_label("clean").uncheck()
    assert header(table, "Clean").count() == 0
    assert table.locator(".interval").first.is_visible()
    filters.get_by_label("intervals").uncheck()
    assert not table.locator(".interval").first.is_visible()


def test_marks_of_rows_are_visible(open_page: Open) -> None:
    page = open_page()
    assert board(page, 1).locator(".tag", has_text="masked").is_visible()
    assert board(page, 0).locator(".tag", has_text="attack too weak").first.is_visible()
    assert board(page, 0).locator("tr.reference .tag", has_text="reference").is_visible()
    assert page.locator("#data-demo h2 .tag", has_text="proxy labels").is_visible()


def test_a_chart_says_the_value_under_the_pointer_and_at_the_arrow_keys(open_page: Open) -> None:
    page = open_page()
    place = page.locator(".curves").first
    place.scroll_into_view_if_needed()
    chart = place.locator(".chart").first
    box = chart.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + box["height"] / 3)
    readout = chart.locator(".readout")
    page.wait_for_function(
        "(node) => node.textContent.includes('eps 4')", arg=readout.element_handle()
    )
    assert re.search(r", eps 4: .?\d\.\d{3} \(.?\d\.\d{3} to .?\d\.\d{3}\)", readout.inner_text())
    chart.locator(".canvas").focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    said = set()
    for _ in range(4):
        page.keyboard.press("ArrowDown")
        said.add(readout.inner_text().rsplit(", eps 0: ", 1)[0])
    assert said == {"resnet", "cprl:b=0.3", EVIL, QUOTED}


def test_a_line_can_be_hidden(open_page: Open) -> None:
    page = open_page()
    place = page.locator(".curves").first
    place.scroll_into_view_if_needed()
    button = place.get_by_role("button", name=EVIL)
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    place.get_by_role("button", name="None").click()
    assert place.locator(".legend button[aria-pressed=true]").count() == 0


def test_a_defense_has_its_own_page_and_the_back_button_leads_back(open_page: Open) -> None:
    page = open_page()
    table = board(page, 1)
    table.scroll_into_view_if_needed()
    table.locator("a", has_text="cprl:b=0.3").click()
    article = page.locator("article.defense:visible")
    assert article.count() == 1
    assert article.locator("h2").inner_text() == "cprl:b=0.3"
    assert page.evaluate("document.activeElement.tagName") == "H2"
    assert page.title().startswith("cprl:b=0.3")
    assert not page.locator("#data-live").is_visible()
    assert not page.locator("#filters").is_visible()
    for text in ("Parameters of cprl", "Training card", "masked", "Audit: cprl:b=0.3 on LIVE"):
        assert article.get_by_text(text, exact=False).first.is_visible(), text
    assert article.locator(".u-over").count() == 4
    page.go_back()
    assert page.locator("#data-live").is_visible()
    assert page.locator("article.defense:visible").count() == 0
    assert page.evaluate("scrollY") > 100


def test_images_are_sorted_by_damage_and_filtered_by_label(open_page: Open) -> None:
    page = open_page("#images")
    choice, table = page.locator("#image-choice"), page.locator("#image-table")
    choice.get_by_label("Defense").select_option(label="cprl:b=0.3")
    choice.get_by_label("Attack").select_option("1")
    choice.get_by_label("eps").select_option("4")
    damage = column(table, "Damage")
    assert len(damage) == 8
    assert damage == sorted(damage, reverse=True)
    assert damage[0] > damage[-1]
    assert not header(table, "Clean, attacked").is_visible()
    assert "No pictures were saved" in page.locator("#image-remarks").inner_text()
    choice.get_by_label("Label").select_option(label="0.8 to 1.0")
    assert sorted(column(table, "Label (MOS)")) == [0.8, 0.9]
    choice.get_by_label("Label").select_option(label="0.4 to 0.6")
    assert column(table, "Label (MOS)") == [0.4]


def test_pictures_stand_beside_their_scores_and_can_be_enlarged(open_page: Open) -> None:
    page = open_page()
    page.evaluate("location.hash = document.querySelector('table.leaderboard a').hash")
    page.locator("nav a", has_text="Images").first.evaluate("node => node.click()")
    choice, table = page.locator("#image-choice"), page.locator("#image-table")
    choice.get_by_label("Defense").select_option(label=EVIL)
    choice.get_by_label("Attack").select_option(label="pgd")
    choice.get_by_label("eps").select_option("4")
    assert "multiplied by 31" in page.locator("#image-remarks").inner_text()
    buttons = table.locator("button.pictures")
    assert buttons.count() == 3
    assert buttons.first.locator("img").count() == 3
    widths = table.locator("img").evaluate_all("all => all.map((one) => one.naturalWidth)")
    assert widths == [16] * 9
    buttons.first.click()
    dialog = page.get_by_role("dialog")
    assert (
        dialog.locator("figcaption").all_inner_texts()[2] == "difference \N{MULTIPLICATION SIGN} 31"
    )
    page.keyboard.press("Escape")
    assert dialog.count() == 0
    assert page.evaluate("document.activeElement.className") == "pictures"


def test_a_cell_of_a_defense_leads_to_its_images(open_page: Open) -> None:
    page = open_page()
    page.evaluate("location.hash = '#defense-cprl-b=0.3'")
    link = page.locator("article.current a", has_text="images").last
    key = link.get_attribute("href").removeprefix("#images-")
    link.click()
    assert page.locator("#images").is_visible()
    assert key in page.locator("#image-remarks").inner_text()
    assert (
        page.locator("#image-choice")
        .get_by_label("Defense")
        .evaluate("select => select.selectedOptions[0].text")
        == "cprl:b=0.3"
    )


def test_hostile_names_are_text_everywhere(open_page: Open) -> None:
    page = open_page()
    assert EVIL in names(board(page))
    assert QUOTED in names(board(page))
    page.locator(".curves").first.scroll_into_view_if_needed()
    page.locator(".legend").first.get_by_text(EVIL).wait_for()
    board(page).locator("a", has_text=EVIL).click()
    assert page.locator("article.current h2").inner_text() == EVIL
    assert page.locator("script:not([type])").count() == 7


def test_dark_pages_have_dark_paper_and_their_own_lines(open_page: Open) -> None:
    page = open_page(color_scheme="dark")
    page.locator(".curves").first.scroll_into_view_if_needed()
    for scheme, theme in (("dark", DARK), ("light", LIGHT)):
        page.emulate_media(color_scheme=scheme)
        shown = page.locator("section.panel").first.evaluate(
            "x => getComputedStyle(x).backgroundColor"
        )
        rgb = tuple(int(theme.paper[i : i + 2], 16) for i in (1, 3, 5))
        assert shown == f"rgb{rgb}"
        page.wait_for_function(
            "([place, colours]) => colours.includes("
            "document.querySelector(place)?.getAttribute('stroke'))",
            arg=[".legend svg line", [*theme.lines, theme.reference]],
        )


@pytest.mark.parametrize(
    ("scheme", "address"), [("light", ""), ("dark", ""), ("dark", "#defense-cprl-b=0.3")]
)
def test_axe_finds_no_barrier(open_page: Open, scheme: str, address: str) -> None:
    page = open_page(address, color_scheme=scheme)
    if not address:
        for place in (".curves", "#images"):
            page.locator(place).first.scroll_into_view_if_needed()
            page.wait_for_timeout(100)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    wrong = [
        (one["id"], one["impact"], one["nodes"][0]["html"][:200]) for one in found["violations"]
    ]
    assert wrong == []
    assert len(found["passes"]) > 10


def test_the_page_is_whole_on_a_phone(open_page: Open) -> None:
    for address in ("", "#defense-cprl-b=0.3"):
        page = open_page(address, viewport={"width": 420, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 420
        table = page.locator("table:visible").first
        assert table.locator("xpath=ancestor::div[@class='scroll']").count() == 1


def test_paper_shows_tables_and_figures_without_controls(open_page: Open) -> None:
    page = open_page()
    page.emulate_media(media="print")
    assert board(page).is_visible()
    assert page.locator("figure.static img").first.is_visible()
    for hidden in ("#filters", ".curves", "#image-choice", "nav[aria-label=Contents]"):
        assert not page.locator(hidden).first.is_visible(), hidden


def test_the_page_reads_without_scripts(open_page: Open) -> None:
    page = open_page(java_script_enabled=False)
    for shown in ("table.leaderboard", "figure.static img", "article.defense h2"):
        assert page.locator(shown).first.is_visible(), shown
    for hidden in ("#filters", "#images", ".curves", "a[href^='#images']"):
        assert not page.locator(hidden).first.is_visible(), hidden


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
