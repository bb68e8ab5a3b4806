"""Made-up leaderboards: cells with scores that were chosen, the untouched base model, and a row of the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from bench.leaderboard.cell_scores import CellScores
from bench.leaderboard.stats import FloatArray
from bench.leaderboard.tables import Leaderboard, Row
from bench.plan.row_key import RowKey


def right(count: int, total: int = 10) -> FloatArray:
    """Return per-example scores, the first ``count`` of ``total`` right."""
    return (np.arange(total) < count).astype(float)


def key(method: str, rank: int | None = 16, connector: str = "full") -> RowKey:
    """Return the key of a method's own row."""
    return RowKey(method, "", rank, connector)


def cell(method: str, target: str, primary: Mapping[str, FloatArray], *, rank: int = 16, seed: int = 0) -> CellScores:
    """Return a trial that is done, in its method's own row."""
    return CellScores(key(method, rank), target, seed, primary=primary)


def failed(method: str, target: str, error: str, *, rank: int = 16, seed: int = 0) -> CellScores:
    """Return a trial that broke."""
    return CellScores(key(method, rank), target, seed, status="failed", error=error)


def zero_shot(primary: Mapping[str, FloatArray]) -> CellScores:
    """Return the untouched base model."""
    return CellScores(replace(key("zero_shot", None), ranked=False), None, 0, primary=primary)


def tuned(made: CellScores, tries: int = 8) -> CellScores:
    """Return a cell in the row that a search chose."""
    return replace(made, key=replace(made.key, variant="tuned", tries=tries))


def control(made: CellScores, variant: str, against: str = "") -> CellScores:
    """Return a cell as a trivial baseline, of every row or of one."""
    return replace(made, key=replace(made.key, variant=variant, control=True, ranked=False, against=against))


def row(leaderboard: Leaderboard, name: str, rank: int | None = 16) -> Row:
    """Return a row of the first table."""
    return next(row for row in leaderboard.tables[0].rows if (row.name, row.rank) == (name, rank))
