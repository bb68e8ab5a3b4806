"""Turn the tables of a sequence into plain values, with every number that a report shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.leaderboard.stats import Estimate
from bench.plan.row_key import RowKey
from bench.sequences.board import OrderSummary, SequenceBlock, SequenceBoard, SequenceRow, StageScores


def as_json(board: SequenceBoard) -> dict[str, Any]:
    """Return the tables, ready for JSON. Scores are fractions; a number that could not be measured is absent."""
    heading = board.heading
    return {
        "suite": heading.suite,
        "command": heading.command,
        "commit": heading.commit,
        "environment": heading.environment,
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
        **_key(row.key),
        "seeds": list(row.seeds),
        "metrics": _estimates(row.metrics),
        "difference": _estimates(row.difference),
        "best": sorted(row.best),
        "tied": sorted(row.tied),
        "answers_as": row.same_as,
        "environment": dict(row.foreign),
        "kept_bytes": None if cost is None else cost.kept_bytes,
        "seconds_per_stage": None if cost is None else cost.seconds,
        "updates_per_stage": None if cost is None else cost.updates,
        "stages": [_stage(stage) for stage in row.stages],
        "problems": [
            {"seed": problem.seed, "status": problem.status, "error": " ".join(problem.error.split())}
            for problem in row.problems
        ],
    }


def _key(key: RowKey) -> dict[str, Any]:
    return {
        "method": key.method,
        "variant": key.variant,
        "rank": key.rank,
        "control": key.control,
        "ranked": key.ranked,
        "given": key.given,
    }


def _stage(stage: StageScores) -> dict[str, Any]:
    return {
        "stage": stage.number,
        "learnt": stage.task,
        "scores": _estimates(stage.scores),
        "ap": None if stage.average is None else _estimate(stage.average),
        "sources": _estimates(stage.sources),
        "source": None if stage.source is None else _estimate(stage.source),
    }


def _summary(line: OrderSummary) -> dict[str, Any]:
    columns = {
        name: {
            "mean": _estimate(value.mean),
            "lowest": value.lowest,
            "highest": value.highest,
            "spread": value.spread,
        }
        for name, value in line.columns.items()
    }
    return {**_key(line.key), "orders": line.orders, "columns": columns}


def _estimates(columns: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: _estimate(value) for name, value in columns.items()}


def _estimate(value: Estimate) -> dict[str, Any]:
    by_seed = {str(seed): number for seed, number in value.by_seed.items()}
    return {"value": value.value, "low": value.low, "high": value.high, "by_seed": by_seed}
