"""Every built-in method has a page, and the tables of the pages are those that the classes give."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.plugins.registry import Registry

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "methods"
OVERVIEW = ROOT / "docs" / "methods.md"
METHODS = Registry().names("method")
AGAIN = "write it again: python docs/method_pages.py"
NUMBER = re.compile(r"\d+\.\d+")


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "method_pages.py"))


def text(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_method_has_a_page_and_every_page_a_method(script: dict[str, Any]) -> None:
    assert sorted(path.stem for path in PAGES.glob("*.md")) == list(METHODS)
    assert sorted(script["names"]()) == list(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_the_tables_of_a_page_are_those_of_the_class(name: str, script: dict[str, Any]) -> None:
    assert script["page_text"](name, text(name)) == text(name), AGAIN


@pytest.mark.slow
def test_the_tables_of_the_overview_are_those_of_the_classes(script: dict[str, Any]) -> None:
    found = OVERVIEW.read_text(encoding="utf-8")

    assert script["overview_text"](found) == found, AGAIN
    assert [name for name in METHODS if f"(methods/{name}.md)" not in found] == []


@pytest.mark.parametrize("path", [OVERVIEW, *sorted(PAGES.glob("*.md"))], ids=lambda path: str(path.stem))
def test_people_have_filled_the_last_column_of_every_row(path: Path) -> None:
    assert re.findall(r"^\| .*\|  \|$", path.read_text(encoding="utf-8"), re.MULTILINE) == []


@pytest.mark.parametrize("name", METHODS)
def test_a_page_has_its_parts_and_a_command_that_runs_the_method(name: str) -> None:
    headings = re.findall(r"^## (.*)$", text(name), re.MULTILINE)

    assert headings[0] == "Equations"
    assert headings[-1] == "Use it"
    trained = name != "zero_shot"
    assert ("Options" in headings) == ("Cost" in headings) == trained
    assert name in text(name).rpartition("## Use it")[2] or "--methods joint" in text(name)


@pytest.mark.parametrize("name", METHODS)
def test_what_a_page_says_of_micro_is_on_the_pages_of_results(name: str) -> None:
    published = "".join(
        (ROOT / "docs" / file).read_text(encoding="utf-8") for file in ("results-micro.md", "results-sequences.md")
    )
    part = text(name).partition("## On `micro`")[2].partition("\n## ")[0]

    assert [number for number in NUMBER.findall(part) if number not in published] == []


def changed(table: str, old: str, new: str) -> str:
    assert old in table
    return table.replace(old, new, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda page: changed(page, "| 0.1 |", "| 0.2 |"),
        lambda page: changed(page, "0.05 to 0.9", "0.05 to 0.8"),
        lambda page: changed(page, "| edits what", "| trains what"),
        lambda page: changed(page, "89.33", "99.33"),
    ],
)
def test_a_table_that_is_older_than_the_class_is_found(change: Callable[[str], str], script: dict[str, Any]) -> None:
    assert script["page_text"]("dare", change(text("dare"))) == text("dare")


def test_a_word_that_people_have_written_stays(script: dict[str, Any]) -> None:
    page = changed(text("dare"), "divide the rest by 1 - drop_rate", "in other words")

    assert script["page_text"]("dare", page) == page
