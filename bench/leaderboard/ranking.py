"""Put the rows of a leaderboard in the order in which tables show them."""

from __future__ import annotations

from dataclasses import replace

from bench.leaderboard.tables import Leaderboard, Row, Table


def ranked(board: Leaderboard, by: str = "avg") -> Leaderboard:
    """Return a leaderboard whose rows are sorted within each rank, by one of ``bench.plan.row_key.SORTS``.

    Rows without the number come last. The untouched base model stays first, and equal rows stay in the order of their
    methods.
    """
    if by == "method":
        return board
    return replace(board, tables=tuple(_sorted(table, by) for table in board.tables))


def _sorted(table: Table, by: str) -> Table:
    rows = [row for block in table.blocks() for row in sorted(block, key=lambda row: _place(row, by))]
    return replace(table, rows=tuple(rows))


def _place(row: Row, by: str) -> float:
    if by == "lost":
        found = row.forgetting.get("source")
        return float("inf") if found is None else found.value
    found = row.scores.get(by)
    return float("inf") if found is None else -found.value
