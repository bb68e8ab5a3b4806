"""The page of a search: its tables, its figures, its next command, and the same page in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.cli.options import Cells
from bench.cli.search_page import following
from bench.page.page import write_page
from bench.page.search import Searched, search_page
from bench.plugins.hyperparameters import Range
from bench.search import figures, fronts
from bench.store.drafts import staged
from bench.store.run_folder import Store
from bench.store.search_results import SearchResult
from tests.making.searches import COMMAND, result, with_reason
from tests.page.test_page import Tags

NASTY = "<img src=x onerror=alert(1)>\"'&$x$"
RANGES = {"lr": Range(1e-3, 1e-1, log=True), "form": Range(choices=("mean", "sum"))}


def written(results: Sequence[SearchResult], tmp_path: Path, *, draw: bool = False) -> Path:
    """Write the page of a search, and the figures of its quests if they are to be drawn."""
    store = Store(tmp_path / "runs")
    for each in results if draw else ():
        with staged(store.root / "search" / each.label) as here:
            figures.write(each, RANGES, here)
    drawn = fronts.save(results, tmp_path / "fronts")
    found = Searched(COMMAND, results, drawn, "bench run --tuned --output /home/ann/runs", lambda record: "bench run")
    return write_page(search_page(found, store), tmp_path / "page")


def test_the_page_of_a_search_has_every_configuration_with_its_state(tmp_path: Path) -> None:
    html = written([result(), result("dare")], tmp_path).read_text(encoding="utf-8")

    text = " ".join(Tags(html).text.split())
    sections = [each.get("id") for tag, each in Tags(html).tags if tag == "section"]
    assert sections == ["chosen", "fronts", "configurations", "reading", "origin"]
    assert html.count('data-state="') == 10
    assert html.count('data-state="done chosen front"') == 2
    assert html.count('data-state="done default front"') == 2
    for words in (
        "lr=0.0105, form=mean",
        "failed: out of memory",
        "stopped early after update 7",
        "Budget: 5 of 5 configurations tried; 3 finished, 1 stopped early, 1 failed.",
        "All of them together have 100 updates; early stopping saved 13 (13%).",
        "bench run --tuned --output …/runs",
        "There are no intervals here.",
        "The test splits were not read.",
        "+20.00",
    ):
        assert words in text, words


def test_a_result_of_an_earlier_version_has_a_page(tmp_path: Path) -> None:
    old = result()
    facts = {name: value for name, value in old.facts.items() if name not in ("updates", "order", "left_out")}
    found = Searched(COMMAND, [SearchResult(old.label, COMMAND, old.space, facts, old.configurations)], [], "", str)

    page = search_page(found, Store(tmp_path))

    assert [section.anchor for section in page.sections] == ["chosen", "configurations", "reading", "origin"]
    write_page(page, tmp_path / "page")


@pytest.mark.parametrize(
    ("more", "named"), [({"model_name": "owner/my-model"}, "owner/my-model"), ({}, "the model of suite tiny")]
)
def test_the_page_names_the_base_model_and_not_the_suite(more: dict[str, Any], named: str, tmp_path: Path) -> None:
    text = Tags(written([result(**more)], tmp_path).read_text(encoding="utf-8")).text

    assert f"Base model {named}, revision 0123." in text


def test_a_search_without_a_score_has_a_page(tmp_path: Path) -> None:
    rows = tuple(item for item in result().configurations if item.avg is None)
    old = result(chosen=None, default=None, front=[], importance={})
    found = SearchResult(old.label, COMMAND, old.space, old.facts, rows)

    text = Tags(written([found], tmp_path).read_text(encoding="utf-8")).text

    assert "no configuration has scores" in text


def test_a_quest_without_configurations_is_shown_with_its_row(tmp_path: Path) -> None:
    empty = replace(result("dare", chosen=None, default=None, front=[], importance={}), configurations=())

    tags = Tags(written([result(), empty], tmp_path).read_text(encoding="utf-8")).tags

    assert [each["data-row"] for tag, each in tags if tag == "div" and "data-row" in each] == ["r0", "r1"]


def test_quests_of_a_target_whose_name_has_a_comma_or_a_full_stop_are_named_whole(tmp_path: Path) -> None:
    path = written([result(target="v1.5, rank 2, x"), result("dare", target="v1.5, rank 2, x")], tmp_path)

    text = Tags(path.read_text(encoding="utf-8")).text
    assert "tiny: a search on v1.5, rank 2, x\n" in text
    assert [line for line in text.splitlines() if line == "v1.5, rank 2, x, rank 4"]


def test_a_search_of_a_sequence_names_ap_and_its_order(tmp_path: Path) -> None:
    text = Tags(written([result(order=("new", "newer"))], tmp_path).read_text(encoding="utf-8")).text

    assert "a search on the sequence new, newer" in text
    assert "AP is the mean of all tasks after the last stage." in " ".join(text.split())
    assert "Source against AP" in text


@pytest.mark.slow
def test_no_name_or_reason_becomes_code(tmp_path: Path) -> None:
    path = written([with_reason(result(NASTY, target=NASTY), f"</td><script>{NASTY}")], tmp_path, draw=True)

    tags = Tags(path.read_text(encoding="utf-8")).tags
    assert len([tag for tag, _ in tags if tag == "script"]) == 2
    assert not [tag for tag, each in tags if tag == "img" or any(name.startswith("on") for name in each)]
    (data,) = path.parent.glob("files/*/data/figures-0.js")
    text = data.read_text(encoding="utf-8")
    assert not set("<>&\u2028\u2029") & set(text)
    written_by = re.fullmatch(r"page\.take\(\"figures-0\", (.*)\);\n", text)
    assert written_by is not None
    drawn = json.loads(written_by[1])
    assert [each["name"] for each in drawn] == ["front", "slices", "parallel", "history"]
    for each in drawn:
        names = {tag for tag, _ in Tags(each["svg"]).tags}
        assert not names & {"script", "img"}


def test_the_figure_of_all_fronts_has_a_row_for_each_method(tmp_path: Path) -> None:
    html = written([result(), result("dare")], tmp_path).read_text(encoding="utf-8")
    frame = fronts.frame([result(), result("dare")])

    drawn = html[html.index('id="fronts"') : html.index('id="configurations"')]
    assert set(re.findall(r'data-row="(r\d+)"', drawn)) == {"r0", "r1"}
    assert frame["number"][frame["front"]].tolist() == [0, 3, 0, 3]
    assert frame["number"][frame["chosen"]].tolist() == [3, 3]


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([result(), result("dare"), result(rank=8)], "bench run --methods lora,dare --ranks 4,8 --targets new"),
        (
            [result(order=("new", "newer")), result(order=("newer", "new"))],
            "bench sequence --methods lora --ranks 4 --tasks new,newer --order newer,new",
        ),
    ],
)
def test_the_next_command_means_the_same_cells(results: list[SearchResult], expected: str) -> None:
    cells = Cells(limit="40", set=("recipe.updates=20",), seeds="0,1", sources="old")

    command = following(cells, results, Path("my runs"))

    more = "--sources old --seeds 0,1 --set recipe.updates=20 --tuned --output 'my runs'"
    assert command == f"{expected} {more}"
