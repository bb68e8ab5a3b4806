"""Turn the tables of a sequence into plain values, with every number that a report shows."""

from __future__ import annotations

from typing import Any

from bench.leaderboard.as_json import SCHEMA, estimate_json, estimates_json, heading_json, key_json, problems_json
from bench.sequences.board import OrderSummary, SequenceBlock, SequenceBoard, SequenceRow, StageScores


def as_json(board: SequenceBoard) -> dict[str, Any]:
    """Return the tables, ready for JSON. Scores are fractions; a number that could not be measured is absent."""
    return {
        "schema": SCHEMA,
        "kind": "sequence",
        **heading_json(board.heading),
        "tasks": list(board.tasks),
        "sources": list(board.sources),
        "left_out": list(board.left_out),
        "baseline": board.baseline,
        "seeds": list(board.seeds),
        "blocks": [_block(block) for block in board.blocks],
        "orders": [_summary(line) for line in board.summary],
        "notes": list(board.notes),
    }


def _block(block: SequenceBlock) -> dict[str, Any]:
    return {
        "order": list(block.order),
        "rank": block.rank,
        "connector": block.connector,
        "resolution": block.resolution,
        "too_high": block.too_high,
        "rows": [_row(row) for row in block.rows],
        "remarks": list(block.remarks),
    }


def _row(row: SequenceRow) -> dict[str, Any]:
    cost = row.cost
    return {
        **key_json(row.key),
        "seeds": list(row.seeds),
        "metrics": estimates_json(row.metrics),
        "difference": estimates_json(row.difference),
        "best": sorted(row.best),
        "tied": sorted(row.tied),
        "answers_as": row.same_as,
        "environment": dict(row.foreign),
        "kept_bytes": None if cost is None else cost.kept_bytes,
        "seconds_per_stage": None if cost is None else cost.seconds,
        "updates_per_stage": None if cost is None else cost.updates,
        "stages": [_stage(stage) for stage in row.stages],
        "problems": problems_json(row.problems),
    }


def _stage(stage: StageScores) -> dict[str, Any]:
    return {
        "stage": stage.number,
        "learnt": stage.task,
        "scores": estimates_json(stage.scores),
        "ap": None if stage.average is None else estimate_json(stage.average),
        "sources": estimates_json(stage.sources),
        "source": None if stage.source is None else estimate_json(stage.source),
    }


def _summary(line: OrderSummary) -> dict[str, Any]:
    columns = {
        name: {
            "mean": estimate_json(value.mean),
            "lowest": value.lowest,
            "highest": value.highest,
            "spread": value.spread,
        }
        for name, value in line.columns.items()
    }
    return {**key_json(line.key), "orders": line.orders, "columns": columns}
