"""The page in a real browser without a pointer, and on paper."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.making.searches import result
from tests.page.conftest import MadeSequence, shown
from tests.page.test_search_page import written

pytestmark = pytest.mark.slow

# The elements that Tab reaches, in the order of the page: what is in a closed part or hidden is not among them.
_REACHED = """
() => [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
  .filter((each) => each.checkVisibility({ visibilityProperty: true }))
"""
_PRINT = "(name) => window.dispatchEvent(new Event(name))"
_CLOSED = "document.querySelectorAll('main details:not([open])').length"


def test_tab_reaches_everything_in_the_order_of_the_page(opened: Any) -> None:
    wanted = opened.evaluate(f"({_REACHED})().length")
    places = []
    for _ in range(wanted):
        opened.keyboard.press("Tab")
        places.append(opened.evaluate(f"({_REACHED})().indexOf(document.activeElement)"))

    assert places == list(range(wanted))
    assert wanted > 30
    outline = opened.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_the_filters_open_and_work_by_the_keyboard(opened: Any) -> None:
    opened.locator("#filters summary").focus()
    opened.keyboard.press("Enter")
    opened.keyboard.press("Tab")  # all
    opened.keyboard.press("Tab")  # none
    opened.keyboard.press("Enter")

    assert "rows shown)" in opened.locator("#filtered").inner_text()
    assert not opened.locator("table.board tr[data-row]:visible", has_text="lora").count()


def test_the_list_of_a_run_can_show_one_row(opened: Any) -> None:
    before = opened.locator("#examples").inner_text()
    assert "lora r2, r4" in before
    assert "l2 r2, r4" in before

    opened.locator("#browse select[name=row]").select_option(label="l2 r4")

    cards = opened.locator("article.example")
    assert cards.count() == 2
    for text in cards.all_inner_texts():
        assert "l2 r4" in text
        assert "lora" not in text
        assert "r2" not in text


@pytest.mark.parametrize("width", [400, 1600])
def test_the_intervals_of_all_cells_are_shown_without_a_pointer(opened: Any, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 900})
    said = opened.locator("tbody .said")

    opened.locator("#leaderboard input.says").focus()
    opened.keyboard.press("Space")

    titled = opened.locator("tbody [title]").count()
    assert said.count() == titled > 20
    assert opened.locator("input.says:checked").count() == opened.locator("input.says").count() > 1
    assert re.fullmatch(r"-?\d+\.\d\d to -?\d+\.\d\d", opened.locator(".heat .said >> nth=0").inner_text())
    assert opened.locator(".heat .said >> nth=0").is_visible()
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    opened.keyboard.press("Space")
    opened.keyboard.press("Space")
    assert said.count() == titled  # nothing is said twice
    opened.keyboard.press("Space")
    assert not opened.locator("tbody .said:visible").count()


def test_the_headings_are_explained_without_a_pointer(opened: Any) -> None:
    legend = opened.locator("#leaderboard details.legend")
    assert not legend.locator("dl").is_visible()

    legend.locator("summary").focus()
    opened.keyboard.press("Enter")

    told = dict(zip(legend.locator("dt").all_inner_texts(), legend.locator("dd").all_inner_texts(), strict=True))
    assert told["Source lost"] == "forgetting: zero-shot Source minus Source"
    titled = opened.locator("table[data-target] >> nth=0").locator("thead th[title]")
    assert len(told) == titled.count()


def test_what_is_closed_is_open_on_paper_and_closed_again_afterwards(opened: Any) -> None:
    opened.locator("#origin summary").click()  # a part that the reader has opened stays open
    before = opened.evaluate(_CLOSED)
    assert before

    opened.emulate_media(media="print")
    opened.evaluate(_PRINT, "beforeprint")

    assert not opened.evaluate(_CLOSED)
    assert opened.locator("#origin code", has_text="bench run lora-r2-new_squares-s0").is_visible()
    assert not opened.locator("#filters").is_visible()
    opened.evaluate(_PRINT, "beforeprint")  # some browsers say it twice
    opened.evaluate(_PRINT, "afterprint")
    assert opened.evaluate(_CLOSED) == before
    assert opened.locator("#origin details").get_attribute("open") is not None


@pytest.mark.parametrize("more", [0, 30])
def test_a_table_fits_the_paper_however_many_columns_it_has(opened: Any, more: int) -> None:
    opened.set_viewport_size({"width": 400, "height": 900})
    opened.evaluate(
        "(more) => document.querySelectorAll('table[data-target] tr[data-row]').forEach((line) => {"
        " for (let n = 0; n < more; n++) line.append(line.children[5].cloneNode(true)); })",
        more,
    )

    opened.evaluate(_PRINT, "beforeprint")
    opened.emulate_media(media="print")
    opened.set_viewport_size({"width": 965, "height": 700})  # the paper: a letter in landscape

    assert opened.evaluate("document.documentElement.scrollWidth") <= 965
    zoomed = opened.evaluate("[...document.querySelectorAll('main table')].filter((each) => each.style.zoom).length")
    assert bool(zoomed) == bool(more)
    opened.evaluate(_PRINT, "afterprint")
    assert not opened.evaluate("[...document.querySelectorAll('main table')].filter((each) => each.style.zoom).length")


def test_a_page_is_printed_in_landscape_with_everything_open_and_in_light_colours(opened: Any) -> None:
    opened.emulate_media(color_scheme="dark")
    opened.evaluate(
        "window.addEventListener('beforeprint', () => {"
        f" window.found = [{_CLOSED}, getComputedStyle(document.body).backgroundColor]; }})"
    )

    pdf = opened.pdf(prefer_css_page_size=True)

    assert opened.evaluate("window.found[0]") == 0
    width, height = map(float, re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)[0])
    assert width > height
    opened.emulate_media(media="print", color_scheme="dark")
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_the_stages_of_a_sequence_are_printed(browser: Any, made_sequence: MadeSequence, tmp_path: Path) -> None:
    with shown(browser, made_sequence.write(tmp_path / "page")) as page:
        assert not page.locator("table.stages:visible").count()

        page.evaluate(_PRINT, "beforeprint")

        assert page.locator("table.stages:visible").count() == page.locator("table.stages").count() > 1
        page.evaluate(_PRINT, "afterprint")
        page.locator("#stages input.says").check()
        page.locator("#stages summary >> nth=0").click()
        assert " to " in page.locator("table.stages .said >> nth=0").inner_text()


def test_the_figures_of_a_search_are_printed_if_they_were_drawn(browser: Any, tmp_path: Path) -> None:
    path = written([result(), result("dare")], tmp_path, draw=True)

    with shown(browser, path, "table.configurations") as page:
        page.locator("details.late summary >> nth=0").click()
        page.locator("details.late >> nth=0").locator("figure >> nth=3").wait_for()
        page.locator("details.late summary >> nth=0").click()
        page.emulate_media(media="print")
        page.evaluate(_PRINT, "beforeprint")
        assert page.locator("details.late figure:visible").count() == 4  # the other quest's were not loaded
        content = page.evaluate(
            "getComputedStyle(document.querySelectorAll('details.late summary')[1], '::after').content"
        )
        assert "open this part before you print" in content
        page.evaluate(_PRINT, "afterprint")
        page.emulate_media(media="screen")
        page.locator("#draw").click()
        page.locator("details.late >> nth=1").locator("figure >> nth=3").wait_for()
        assert page.locator("details.late figure:visible").count() == 8
        page.locator("#chosen input.says").check()
        assert "out of memory" in page.locator("td.state .said >> nth=0").inner_text()
