"""The verdict on every number that a leaderboard and a paper both have."""

from dataclasses import replace

import numpy as np
import pytest

from bench import Paper, UsageError
from bench.papers.comparison import Comparison, compare, verdict
from tests.making import boards
from tests.making.published import SOURCES, board, board_of, cell


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-2.0, 2.0, "reproduced"),
        (0.5, 1.9, "reproduced"),
        (2.1, 9.0, "above"),
        (2.0, 9.0, "cannot tell"),
        (-9.0, -2.1, "below"),
        (-9.0, -2.0, "cannot tell"),
        (1.0, 2.1, "cannot tell"),
        (-5.0, 5.0, "cannot tell"),
    ],
)
def test_a_verdict_needs_the_whole_interval(low: float, high: float, said: str) -> None:
    assert verdict(low, high, 2.0) == said


def test_without_tolerance_only_the_same_number_is_reproduced() -> None:
    assert [verdict(low, low, 0.0) for low in (0.0, 0.1, -0.1)] == ["reproduced", "above", "below"]


def said(found: Comparison, method: str) -> dict[str, tuple[float, str]]:
    """The difference in points and the verdict by column."""
    return {
        number.column: (round(100 * number.difference.value, 2), found.verdict(number))
        for number in found.numbers
        if number.key.method == method
    }


def test_every_column_is_compared_with_the_difference_in_points(paper: Paper) -> None:
    made = board(paper, cell(paper, "lora", shift=1.5), cell(paper, "dora", shift=-3.0))

    found = compare(paper, made, 2.0)

    assert said(found, "lora")["okvqa"] == (1.5, "reproduced")
    assert set(said(found, "lora")) == {*SOURCES, "source", "target", "avg"}
    assert {column for column, (_, word) in said(found, "dora").items() if word == "below"} == set(made.columns)
    assert (
        found.summary == "Of 21 compared numbers: 14 reproduced, 0 above, 7 below, 0 cannot tell (tolerance 2 points)."
    )


def test_a_difference_of_exactly_the_tolerance_is_reproduced(paper: Paper) -> None:
    found = compare(paper, board(paper, cell(paper, "lora", shift=2.0)), 2.0)

    assert said(found, "lora")["target"] == (2.0, "reproduced")


def test_the_interval_of_the_difference_is_ours_moved_by_the_published_number(paper: Paper) -> None:
    lora = cell(paper, "lora")
    noisy = replace(lora, primary={**lora.primary, "iconqa": (np.arange(40) < 33).astype(float)})

    found = compare(paper, board_of(paper, noisy), 2.0)

    number = next(n for n in found.numbers if n.key.method == "lora" and n.column == "target")
    assert number.difference.value == pytest.approx(33 / 40 - 0.8252)
    assert number.difference.low == pytest.approx(number.ours.low - 0.8252)
    assert number.difference.half_width == pytest.approx(number.ours.half_width)
    assert found.verdict(number) == "cannot tell"  # 40 examples: about 12 points either way


def test_a_source_of_the_zero_shot_row_counts_once_however_many_targets(paper: Paper) -> None:
    cells = [cell(paper, "lora"), cell(paper, "lora", "coco_caption")]

    found = compare(paper, board(paper, *cells, targets=paper.targets), 2.0)

    assert len(found.numbers) == 4 * 7
    assert found.summary.startswith("Of 23 compared numbers: 23 reproduced")  # 2 x 7, and 5 + 2 x 2


def test_table_2s_connectors_are_compared_where_they_fit(paper: Paper) -> None:
    made = board(paper, *(cell(paper, name, rank=64, connector="lora") for name in ("lora", "lorasculpt")))

    found = compare(paper, made, 2.0)

    tables = {number.key.method: number.table for number in found.numbers}
    assert tables == {"zero_shot": "1", "lora": "2", "lorasculpt": "2"}
    assert said(found, "lorasculpt")["avg"] == (0.0, "reproduced")
    assert found.remarks == ("Only in the paper's tables: zero_shot on coco_caption",)


def test_rows_that_only_one_side_has_are_named_by_rank(paper: Paper) -> None:
    mine = replace(cell(paper, "lora"), key=boards.key("mine", 32))
    failed = boards.failed("dora", "iconqa", "out of memory", rank=32)

    found = compare(paper, board(paper, cell(paper, "lora"), mine, failed), 2.0)

    assert "dora r32 on iconqa: seed 0 failed: out of memory" in found.remarks
    assert "Not in the paper's tables: mine on iconqa, rank 32, connector full" in found.remarks
    rest = "l2, orth_reg, model_tailor, dare, lorasculpt"
    assert f"Only in the paper's tables: {rest} on iconqa, rank 32, connector full" in found.remarks
    assert len([line for line in found.remarks if line.startswith("Only in the paper")]) == 7
    assert not said(found, "dora")
    assert not said(found, "mine")


def test_a_hole_is_compared_where_there_are_scores(paper: Paper) -> None:
    whole = cell(paper, "lora")
    holed = replace(whole, primary={task: value for task, value in whole.primary.items() if task != "gqa"})

    found = compare(paper, board(paper, holed), 2.0)

    assert set(said(found, "lora")) == {"okvqa", "ocrvqa", "textvqa", "target"}
    assert "lora r32 on iconqa: seed 0 missing: no scores on gqa" in found.remarks


def test_no_row_in_common_is_an_error_that_says_what_was_published(paper: Paper) -> None:
    mine = replace(cell(paper, "lora"), key=boards.key("mine", 32))

    with pytest.raises(
        UsageError, match=r"no row in common\. The tables have methods zero_shot, lora, .*; ranks 16, 32, 64"
    ):
        compare(paper, board_of(paper, mine), 2.0)
