"""The page in a real browser, opened from the disk. Without Chromium these tests are skipped and say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.page import changed
from tests.making.searches import result
from tests.page.conftest import EVIL, MadeSequence, shown
from tests.page.test_changed_limit import browser_page, limited_page, rows_of
from tests.page.test_search_page import written

pytestmark = pytest.mark.slow


def names(page: Any) -> list[str]:
    found: list[str] = (
        page.locator("table.board >> nth=0").locator("tbody >> nth=1").locator("th.name").all_inner_texts()
    )
    return found


def test_a_click_on_a_heading_sorts_each_rank(opened: Any) -> None:
    heading = opened.locator("table.board >> nth=0").locator("thead button", has_text="method")

    heading.click()
    assert names(opened) == ["dare", "l2", "lora"]
    heading.focus()
    opened.keyboard.press("Enter")
    assert names(opened) == ["lora", "l2", "dare"]
    assert opened.locator("th[aria-sort=descending]").count() == 1


def test_a_filter_hides_a_row_in_tables_figures_and_examples(opened: Any) -> None:
    opened.locator("#filters summary").click()
    opened.locator('#filters input[value="dare"]').uncheck()

    assert not opened.locator("tr[data-row]:visible", has_text="dare").count()
    assert opened.locator("svg [data-row].off").count()
    assert "(5 of 7 rows shown)" in opened.locator("#filtered").inner_text()
    assert "dare" not in opened.locator("#examples").inner_text()
    assert "lora" in opened.locator("#examples").inner_text()


def test_the_browser_of_forgetting_finds_a_planted_example_with_its_picture(opened: Any) -> None:
    (label,) = opened.locator("#browse option", has_text="old_squares").all_inner_texts()
    assert label.startswith("old_squares (2 of ")
    opened.locator("#browse select[name=task]").select_option(label=label)
    opened.locator("#browse select[name=kind]").select_option("form")
    opened.locator("#browse input[name=least]").fill("3")

    card = opened.locator("article.example")
    assert card.count() == 1
    assert EVIL["question"] in card.inner_text()
    assert "lost the form" in card.inner_text()
    picture = card.locator("img")
    picture.scroll_into_view_if_needed()
    opened.wait_for_function("document.querySelector('article.example img').naturalWidth > 0")
    opened.locator("#browse input[name=least]").fill("4")
    assert opened.locator("article.example").count() == 0


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_its_window(opened: Any, width: int, scheme: str) -> None:
    opened.emulate_media(color_scheme=scheme)
    opened.set_viewport_size({"width": width, "height": 900})

    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    ink, paper = (opened.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
    bright = [sum(int(part) for part in colour[4:-1].split(",")) for colour in (ink, paper)]
    assert (bright[0] < bright[1]) == (scheme == "light")


def test_a_list_with_long_words_fits_a_narrow_window(opened: Any) -> None:
    opened.set_viewport_size({"width": 400, "height": 900})
    opened.evaluate(
        "document.querySelector('#browse option').textContent = 'scene_caption (500 listed of 3000 …) '.repeat(4)"
    )

    assert opened.evaluate("document.documentElement.scrollWidth") <= 400


# The contrast of a cell's text with its background by WCAG 2.2, where the background covers the page's own.
_CONTRAST = """
(cell) => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const paper = parts(getComputedStyle(document.body).backgroundColor);
  const [r, g, b, a = 1] = parts(getComputedStyle(cell).backgroundColor);
  const under = [r, g, b].map((value, at) => a * value + (1 - a) * paper[at]);
  const light = (colour) => colour.slice(0, 3).map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  const [low, high] = [light(under), light(parts(getComputedStyle(cell).color))].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_full_colours_of_the_heat_map_leave_their_text_readable(opened: Any, scheme: str) -> None:
    opened.emulate_media(color_scheme=scheme)
    opened.evaluate(
        "document.querySelectorAll('.heat td').forEach((cell, at) => {"
        " cell.className = at % 2 ? 'up' : 'down'; cell.style.setProperty('--h', 1); })"
    )
    opened.evaluate("document.querySelectorAll('.heat tbody tr').forEach((line) => line.classList.add('control'))")

    cells = opened.locator(".heat td").element_handles()
    contrasts = [opened.evaluate(_CONTRAST, cell) for cell in cells[:6]]

    assert len(contrasts) >= 2
    assert min(contrasts) >= 4.5, contrasts
    before = cells[0].evaluate("(cell) => getComputedStyle(cell).backgroundColor")
    cells[0].hover()
    assert cells[0].evaluate("(cell) => getComputedStyle(cell).backgroundColor") == before


def test_columns_can_be_hidden(opened: Any) -> None:
    assert not opened.locator("th[data-group=costs] >> nth=0").is_visible()

    opened.locator('input.columns[value="costs"]').check()
    opened.locator('input.columns[value="sources"]').uncheck()

    assert opened.locator("th[data-group=costs] >> nth=0").is_visible()
    assert not opened.locator("th[data-group=sources] >> nth=0").is_visible()


def test_the_browser_of_a_sequence_finds_what_a_later_stage_lost(
    browser: Any, made_sequence: MadeSequence, tmp_path: Path
) -> None:
    with shown(browser, made_sequence.write(tmp_path / "page")) as page:
        cards, form = page.locator("article.example"), page.locator("#browse")
        assert form.locator("select[name=task] option").all_inner_texts() == [
            "new_squares (2 of 8 changed)",
            "old_squares (2 of 8 changed)",
            "icon_choice (2 of 8 changed)",
        ]
        form.locator("select[name=kind]").select_option("form")
        form.locator("input[name=least]").fill("2")
        (text,) = cards.all_inner_texts()
        assert EVIL["question"] in text
        assert f"after its stage: {EVIL['answer'][:20]}" in text
        assert "lora r2" in text
        assert "lora+dare r2" in text
        assert cards.locator("img").count() == 1
        form.locator("select[name=place]").select_option("old_squares, new_squares")
        assert cards.count() == 0  # new_squares is the last task of this order
        form.locator("select[name=task]").select_option("changed-1")
        cards.first.wait_for()  # a task's examples are loaded when it is chosen
        assert cards.count() == 1
        form.locator("select[name=kind]").select_option("knowledge")
        assert "after its stage: red" in cards.inner_text()
        form.locator("select[name=task]").select_option("changed-2")
        cards.get_by_text("before training: red").wait_for()


def test_a_limited_list_finds_every_listed_example_that_enough_rows_lost(browser: Any, tmp_path: Path) -> None:
    with shown(browser, limited_page(tmp_path)) as page:
        cards, form, status = page.locator("article.example"), page.locator("#browse"), page.locator("#browsed")
        form.locator("input[name=least]").fill("2")
        assert cards.count() == 2  # the list has one of the two losses of e1
        assert status.inner_text() == "2 of the 2 listed examples of old (exact), 2 shown"
        form.locator("input[name=least]").fill("3")
        assert cards.count() == 0
        form.locator("input[name=least]").fill("2")
        form.locator("select[name=kind]").select_option("")
        assert cards.count() == 1
        assert status.inner_text().endswith("1 shown. Counts of methods are those of the listed changes.")
        form.locator("select[name=kind]").select_option("lost")
        page.locator("#filters summary").click()
        page.locator('#filters input[value="l2"]').uncheck()
        assert cards.count() == 1
        assert "Counts of methods" in status.inner_text()


def test_the_page_of_a_search_sorts_filters_and_draws(browser: Any, tmp_path: Path) -> None:
    path = written([result(), result("<b>xxx")], tmp_path, draw=True)

    with shown(browser, path, "table.configurations") as page:
        table = page.locator("table.configurations >> nth=0")
        numbers = table.locator("tbody th.name")
        table.locator("thead button", has_text="Avg").click()
        assert numbers.all_inner_texts() == ["3", "0", "4", "1", "2"]
        table.locator("thead button", has_text="form").click()
        assert numbers.all_inner_texts()[-2:] == ["1", "2"]
        page.locator("select.states").select_option("failed")
        assert table.locator("tbody tr:visible").count() == 1
        assert "out of memory" in table.locator("tbody tr:visible").inner_text()
        page.locator("select.states").select_option("")
        part = page.locator("details.late >> nth=0")
        part.locator("summary").click()
        part.locator("figure >> nth=3").wait_for()
        assert part.locator("svg").count() == 4
        page.locator("#filters summary").click()
        page.locator('#filters input[value="lora"]').uncheck()
        assert not page.locator("h3", has_text="lora").is_visible()
        assert page.locator("h3", has_text="<b>xxx").is_visible()
        page.set_viewport_size({"width": 400, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_the_seeds_of_a_row_are_listed_once(browser: Any, tmp_path: Path) -> None:
    seeds = [replace(each, seed=seed) for seed in (0, 1) for each in rows_of(("r0", (0,)), ("r1", (0,)))]
    task = changed.changed_task("old", [*seeds, *rows_of(("r2", (0,)))])

    with shown(browser, browser_page(task, tmp_path)) as page:
        text = page.locator("article.example").inner_text()

    assert "lora r2 seeds 0, 1; dora r2 seeds 0, 1; l2 r2 seed 0" in text
