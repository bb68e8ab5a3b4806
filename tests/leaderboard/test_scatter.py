"""Colours and legends stay the same, however the rows of a leaderboard are sorted."""

from dataclasses import replace

import pytest

from bench.checks.reports import fixed_leaderboard
from bench.leaderboard.ranking import ranked
from bench.leaderboard.scatter import draw, looks
from bench.leaderboard.tables import Leaderboard


@pytest.fixture
def orders() -> list[Leaderboard]:
    """A leaderboard, and the same with its rows in the other order."""
    board = fixed_leaderboard()
    turned = tuple(replace(table, rows=(table.rows[0], *reversed(table.rows[1:]))) for table in board.tables)
    return [board, replace(board, tables=turned), ranked(board, "avg")]


def test_a_method_keeps_its_colour_however_rows_are_sorted(orders: list[Leaderboard]) -> None:
    first, *others = map(looks, orders)

    assert [found == first for found in others] == [True, True]
    assert len({look["color"] for key, look in first.items() if key.rank == 8}) == 3


@pytest.mark.slow
def test_a_legend_lists_methods_as_they_were_asked_for(orders: list[Leaderboard]) -> None:
    made = [draw(board) for board in orders]

    texts = [[text.get_text() for text in figure.legends[0].get_texts()] for figure in made if figure is not None]
    assert texts == [["base model", "front", "lora", "dora †"]] * 3
