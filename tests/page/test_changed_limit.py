"""The limit of the list of changed examples: what it leaves out is counted and told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench.page import changed
from bench.page.page import Page, Section, write_page
from bench.page.rows import PageRows
from bench.plan.row_key import RowKey

ROWS = PageRows.of([RowKey("lora", rank=2), RowKey("dora", rank=2), RowKey("l2", rank=2)])
METHODS = {row.id: row.method for row in ROWS.by_key.values()}


def rows_of(*changed_in: tuple[str, Sequence[int]]) -> list[changed.Compared]:
    """Return trials that lose the examples of these numbers, of ten examples that were right before."""

    def lines(wrong: Sequence[int]) -> list[dict[str, object]]:
        scores = [float(number not in wrong) for number in range(10)]
        return [
            {"id": f"e{n}", "question": "?", "answers": ["a"], "prediction": f"{s}", "scores": {"exact": s}}
            for n, s in enumerate(scores)
        ]

    return [
        changed.Compared("exact", row, METHODS.get(row, row), 0, "new", lines(()), lines(lost))
        for row, lost in changed_in
    ]


def test_a_long_list_keeps_the_largest_changes_of_each_trial_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed, "LISTED", 6)
    monkeypatch.setattr(changed, "LEAST", 2)
    task = changed.changed_task("old", rows_of(("r0", range(8)), ("r1", (6, 7, 8)), ("r2", (9,))))

    found = {
        row: {each.example["id"] for each in task.examples if row in [change.row for change in each.changes]}
        for row in ("r0", "r1", "r2")
    }
    assert found == {"r0": {"e6", "e7"}, "r1": {"e6", "e7"}, "r2": {"e9"}}  # those that several rows lost come first
    assert task.remark(ROWS) == (
        "Of old this list shows the 2 largest changes of each trial, and 2 trials have more "
        "(lora r2 seed 0, new: 8; dora r2 seed 0, new: 3). All are in scores.parquet."
    )


def test_a_list_of_a_run_with_few_trials_is_whole() -> None:
    task = changed.changed_task("old", rows_of(("r0", range(10)), ("r1", range(10))))

    assert sum(len(example.changes) for example in task.examples) == 20
    assert task.remark(PageRows.of([])) == ""


def test_what_the_limit_leaves_out_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed, "LISTED", 3)
    monkeypatch.setattr(changed, "LEAST", 1)

    task = changed.changed_task("old", rows_of(("r0", (0, 1)), ("r1", (0,)), ("r2", (1, 2))))

    assert [each.example["id"] for each in task.examples] == ["e0", "e1"]
    assert [each.lost_by for each in task.examples] == [2, 2]
    assert [len(each.changes) for each in task.examples] == [2, 1]
    assert (task.changed, task.counts) == (3, "2 listed of 3 changed, of 10")
    assert [each["lost"] for each in changed.as_json(task, {})["examples"]] == [2, 2]


def test_a_method_that_loses_an_example_in_several_rows_counts_once() -> None:
    both = rows_of(("r0", (0,)), ("r1", (0, 1)))
    again = [replace(each, row=f"{each.row} tuned") for each in both]

    task = changed.changed_task("old", [*both, *again])

    assert {each.example["id"]: each.lost_by for each in task.examples} == {"e0": 2, "e1": 1}


def limited_page(folder: Path) -> Path:
    """Write the page of a list with two examples: r0 and r1 lost e0, r0 and r2 lost e1; r0's loss of e1 is left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changed, "LISTED", 3)
        patch.setattr(changed, "LEAST", 1)
        task = changed.changed_task("old", rows_of(("r0", (0, 1)), ("r1", (0,)), ("r2", (1,))))
    return browser_page(task, folder)


def browser_page(task: changed.ChangedTask, folder: Path) -> Path:
    """Write a page that has only the browser of one task."""
    remarks = [task.remark(ROWS)]
    values = {"tasks": [task], "remarks": remarks, "says": "says", "place": "Target", "places": ("new",)}
    section, data = Section("forgotten", "title", "forgotten.html", values), {"changed-0": changed.as_json(task, {})}
    page = Page("title", "setting", "", "today", [section], ROWS.names, ROWS.ranks, ROWS.as_json(), data)
    return write_page(page, folder)


def test_the_remark_on_the_limit_is_above_the_list(tmp_path: Path) -> None:
    html = limited_page(tmp_path).read_text(encoding="utf-8")

    assert "old (2 listed of 2 changed, of 10)" in html
    assert html.index("Of old this list shows the 1 largest changes of each trial") < html.index('id="examples"')
