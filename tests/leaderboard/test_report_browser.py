"""``report.html`` in a real browser: what a reader sees, hears, clicks and prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from report_runs import EVIL, QUOTED
from report_tables import Open, board, column, header, names

from iqabench.leaderboard.curves import DARK, LIGHT

pytest_plugins = ["report_browser"]
AXE = Path(__file__).parent.parent / "vendor" / "axe.min.js"


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
