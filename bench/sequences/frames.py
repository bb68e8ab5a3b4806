"""Turn the tables of a sequence into data frames: one of the rows, and one of what they score after each stage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from bench.leaderboard.stats import Estimate, bounded

if TYPE_CHECKING:
    from bench.sequences.board import SequenceBlock, SequenceBoard, SequenceRow

_COSTS = {"kept_bytes": "kept_bytes", "seconds": "seconds_per_stage", "updates": "updates_per_stage"}


def rows_frame(board: SequenceBoard) -> pd.DataFrame:
    """Return one line per row of a block: every metric with its bounds and its mark, and every cost."""
    lines = [_line(board, block, row) for block in board.blocks for row in block.rows]
    return pd.DataFrame(lines).astype({name: "Int64" for name in ("rank", "kept_bytes", "updates_per_stage")})


def matrix_frame(board: SequenceBoard) -> pd.DataFrame:
    """Return one line per score after a stage; a line without a seed is for all seeds, and has an interval.

    ``of`` is a task, a source, AP or Source.
    """
    lines = [{**_place(block, row), **cell} for block in board.blocks for row in block.rows for cell in _cells(row)]
    columns = ["order", "rank", "connector", "method", "variant", "given", "stage", "learnt", "of", "seed", "value"]
    return pd.DataFrame(lines, columns=[*columns, "low", "high"]).astype({"rank": "Int64", "seed": "Int64"})


def _place(block: SequenceBlock, row: SequenceRow) -> dict[str, object]:
    where = {"order": " ".join(block.order), "rank": block.rank, "connector": block.connector}
    return {**where, "method": row.key.method, "variant": row.key.variant, "given": row.key.given}


def _line(board: SequenceBoard, block: SequenceBlock, row: SequenceRow) -> dict[str, object]:
    line = {**_place(block, row), "control": row.key.control, "ranked": row.key.ranked}
    line |= {"seeds": " ".join(map(str, row.seeds))}
    for column in board.columns:
        line |= {**bounded(column, row.metrics.get(column)), f"{column}_mark": row.mark(column)}
    for column in ("ap", "source"):
        line |= bounded(f"{column}_minus_{board.baseline}", row.difference.get(column))
    line |= {name: None if row.cost is None else getattr(row.cost, field) for field, name in _COSTS.items()}
    line |= {"answers_as": row.same_as, "environment": "; ".join(dict.fromkeys(row.foreign.values()))}
    return {**line, "problems": row.trouble}


def _cells(row: SequenceRow) -> Iterator[dict[str, object]]:
    for stage in row.stages:
        found = {**stage.scores, **stage.sources, "AP": stage.average, "Source": stage.source}
        for name, value in found.items():
            if value is not None:
                place = {"stage": stage.number, "learnt": stage.task, "of": name}
                yield from _numbers(place, value)


def _numbers(place: dict[str, object], value: Estimate) -> Iterator[dict[str, object]]:
    yield {**place, "value": value.value, "low": value.low, "high": value.high}
    for seed, number in value.by_seed.items():
        yield {**place, "seed": seed, "value": number}
