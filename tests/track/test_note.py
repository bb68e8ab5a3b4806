"""The description of a command's run in MLflow."""

from dataclasses import replace

from bench.leaderboard.build import build
from bench.leaderboard.heading import Heading
from bench.leaderboard.tables import Leaderboard
from bench.track.note import describe
from tests.making import boards


def board() -> Leaderboard:
    scores = {"old": boards.right(8), "new": boards.right(6)}
    better = {"old": boards.right(9), "new": boards.right(6)}
    cells = [boards.cell("lora", "new", scores), boards.cell("dora", "new", better)]
    return build(cells, boards.zero_shot(scores), sources=["old"], targets=["new"], heading=Heading("tiny"))


def test_the_description_has_every_number_of_the_table_times_100() -> None:
    text = describe(board())

    assert "**new**" in text
    assert "| dora | 16 | **90.00 ±" in text
    assert "| -10.00 | +5.00 = |" in text


def test_a_description_that_mlflow_would_cut_off_says_where_the_rest_is() -> None:
    one = board()
    many = replace(one, tables=(replace(one.tables[0], rows=one.tables[0].rows * 100),))

    text = describe(many)

    assert len(text) < 8_000
    assert "more lines are in leaderboard.md, among the artifacts." in text
