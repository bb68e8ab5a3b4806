"""Leaderboards whose every number is a published one, or a chosen distance from it."""

from __future__ import annotations

import numpy as np

from bench import Paper, PublishedRow
from bench.leaderboard.build import build
from bench.leaderboard.cell_scores import CellScores
from bench.leaderboard.heading import Heading
from bench.leaderboard.stats import FloatArray
from bench.leaderboard.tables import Leaderboard
from bench.plugins.paper import compared_rows
from tests.making import boards

SOURCES = ("okvqa", "ocrvqa", "gqa", "textvqa")


def published(paper: Paper, method: str, rank: int | None, target: str, connector: str | None) -> PublishedRow:
    rows = [row for row in compared_rows(paper) if (*row.place, row.connector) == (method, rank, target, connector)]
    assert len(rows) == 1
    return rows[0]


def scores(row: PublishedRow, shift: float) -> dict[str, FloatArray]:
    """Per-example scores that are all the published number plus ``shift`` points: their interval has no width."""
    return {
        task: np.full(100, row.scores[column] + shift / 100)
        for task, column in (*((name, name) for name in SOURCES), (row.target, "target"))
    }


def cell(
    paper: Paper, method: str, target: str = "iconqa", *, shift: float = 0.0, rank: int = 32, connector: str = "full"
) -> CellScores:
    row = published(paper, method, rank, target, connector)
    return CellScores(boards.key(method, rank, connector), target, 0, primary=scores(row, shift))


def zero_shot(paper: Paper) -> CellScores:
    on = [scores(published(paper, "zero_shot", None, target, None), 0.0) for target in paper.targets]
    return boards.zero_shot(on[0] | on[1])


def board(paper: Paper, *cells: CellScores, targets: tuple[str, ...] = ("iconqa",)) -> Leaderboard:
    return build(cells, zero_shot(paper), sources=SOURCES, targets=targets, heading=Heading("lorasculpt"))


def board_of(paper: Paper, only: CellScores) -> Leaderboard:
    """A board without the zero-shot row, whose eight examples would not fit."""
    return build([only], None, sources=SOURCES, targets=("iconqa",), heading=Heading("lorasculpt"))
