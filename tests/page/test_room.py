"""A page has a limit, which its tasks share; what is left out is said on the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.page import changed, thumbnails
from bench.page.browser import OF_RUNS, with_browser
from bench.page.page import PAGE_BYTES, Page, Section, write_page
from bench.page.room import fitted, list_size, shares
from bench.page.rows import PageRows
from bench.page.search import fitting
from bench.plan.request import Request
from bench.plan.row_key import RowKey
from tests.page.conftest import MadeRun
from tests.page.test_page import Tags, data_of

ROWS = PageRows.of([RowKey(f"method{number}", rank=2) for number in range(20)])
TASK = "old_squares"


def task_of(ids: Sequence[str], words: int, trials: int = 20) -> changed.ChangedTask:
    """Return a task of which every trial loses every example, with questions and replies of so many words."""
    lines = [{"id": name, "question": f"{name} " + "why " * words, "answers": ["a"]} for name in ids]
    before = [{**line, "prediction": "a", "scores": {"exact": 1.0}} for line in lines]
    pairs = [
        changed.Compared(
            "exact",
            row.id,
            row.method,
            0,
            "new",
            before,
            [
                {**line, "prediction": f"{row.name} {number} " + "so " * words, "scores": {"exact": 0.0}}
                for number, line in enumerate(lines)
            ],
        )
        for row in list(ROWS.by_key.values())[:trials]
    ]
    return changed.changed_task(TASK, pairs)


def written(request: Request, tasks: Sequence[changed.ChangedTask], folder: Path, filler: str = "") -> Path:
    """Write a page with a section of some length and the browser of some tasks."""
    first = Section("first", "First", "figures.html", {"figures": [{"title": filler, "says": "", "svg": ""}]})
    page = Page("title", "setting", "", "today", [first], ROWS.names, ROWS.ranks, ROWS.as_json())
    return write_page(with_browser(page, "first", request, tasks, ROWS, OF_RUNS), folder)


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())


def pictures(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Let every small picture take so many bytes."""
    monkeypatch.setattr(thumbnails, "_shrunk", lambda image: bytes(size))


@pytest.fixture
def ids(made_run: MadeRun) -> list[str]:
    """The ids of the examples of a task whose pictures may be copied."""
    return [example.id for example in made_run.plan.request.tasks.load(TASK).examples("test")]


@pytest.mark.slow
def test_a_page_with_many_large_tasks_has_at_most_five_megabytes_and_says_what_it_leaves_out(
    made_run: MadeRun, ids: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(monkeypatch, 60_000)
    large = [task_of([*ids, *map(str, range(500))], 40) for _ in range(10)]

    path = written(made_run.plan.request, [*large, task_of(ids, 1)], tmp_path / "page")

    assert sum(map(list_size, large)) > 3 * PAGE_BYTES
    assert 0.9 * PAGE_BYTES < size_of(path) <= PAGE_BYTES == 5_000_000
    text = Tags(path.read_text(encoding="utf-8")).text
    assert text.count(f"Of {TASK} this list shows the ") == 10  # the small task is whole
    assert "All are in scores.parquet." in text
    assert f"examples of {TASK} have a picture, to keep the page small." in text
    lists = [data_of(path.parent, f"changed-{number}")["examples"] for number in range(11)]
    assert min(map(len, lists)) >= len(ids)
    assert all(any(example["picture"] for example in each) for each in lists)


def test_a_page_whose_tables_take_all_lists_nothing_and_says_so(
    made_run: MadeRun, ids: list[str], tmp_path: Path
) -> None:
    path = written(made_run.plan.request, [task_of(ids, 1, trials=2)], tmp_path / "page", filler="x" * PAGE_BYTES)

    text = Tags(path.read_text(encoding="utf-8")).text
    assert f"The changes of {TASK} are not listed, to keep the page small. All are in scores.parquet." in text
    assert data_of(path.parent, "changed-0")["examples"] == []
    assert not list(path.parent.rglob("*.webp"))


def test_a_run_that_fits_is_shown_whole(made_run: MadeRun, ids: list[str], tmp_path: Path) -> None:
    path = written(made_run.plan.request, [task_of(ids, 1, trials=2)], tmp_path / "page")

    assert len(data_of(path.parent, "changed-0")["examples"]) == len(ids)
    assert len(list(path.parent.rglob("*.webp"))) == len(ids)
    assert "to keep the page small" not in path.read_text(encoding="utf-8")


def test_a_shorter_list_keeps_its_counts_and_says_how_many_each_trial_has() -> None:
    whole = task_of(list(map(str, range(100))), 1, trials=2)

    (small,) = fitted([whole], list_size(whole) // 4)

    assert list_size(small) <= list_size(whole) // 4
    assert 0 < small.longest < 50
    assert small.counts == f"{len(small.examples)} listed of 100 changed, of 100"
    assert set(small.cut.values()) == {100}
    assert f"the {small.limit} largest changes of each trial, and 2 trials have more" in small.remark(ROWS)
    assert whole.counts == "100 of 100 changed"
    assert all(len(example.changes) == 2 for example in whole.examples)


def test_a_list_that_was_limited_before_keeps_the_count_of_all_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed, "LISTED", 100)
    limited = task_of(list(map(str, range(80))), 1, trials=2)

    assert set(limited.shortened(3).cut.values()) == {80}


def test_what_is_small_stays_whole_and_the_rest_share_equally() -> None:
    assert shares([], 5) == []
    assert shares([900, 10, 500], 610) == [300, 10, 300]
    assert shares([5, 5], 100) == [5, 5]
    assert shares([5, 5], 0) == [0, 0]


def test_a_search_without_room_keeps_the_fronts_of_all_methods_first() -> None:
    quest = tuple({"name": name, "title": name, "svg": "x" * 100} for name in ("front", "slices", "history"))
    short = tuple(replace_svg(each) for each in quest)

    kept = fitting([quest, quest, short], 460)

    assert [[each["name"] for each in found] for found in kept] == [
        ["front"],
        ["front"],
        ["front", "slices", "history"],
    ]


def replace_svg(figure: dict[str, str]) -> dict[str, str]:
    return {**figure, "svg": ""}
