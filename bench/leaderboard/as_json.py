"""Turn a leaderboard into plain values, with every number that a report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bench.leaderboard.heading import Heading
from bench.leaderboard.stats import Estimate
from bench.leaderboard.tables import Leaderboard, Problem, Row, Table
from bench.plan.row_key import RowKey

SCHEMA = 2  # raised if a field is renamed, removed or means something else


def as_json(board: Leaderboard) -> dict[str, Any]:
    """Return the tables, ready for JSON. Scores are fractions; a number that could not be measured is absent."""
    return {
        "schema": SCHEMA,
        "kind": "leaderboard",
        **heading_json(board.heading),
        "sources": list(board.sources),
        "left_out": list(board.left_out),
        "baseline": board.baseline,
        "connectors": list(board.connectors),
        "seeds": list(board.seeds),
        "tables": [_table(table) for table in board.tables],
        "notes": list(board.notes),
    }


def heading_json(heading: Heading) -> dict[str, Any]:
    """Return the origin of the tables."""
    facts = {name: list(values) for name, values in heading.environment.items()}
    return {"suite": heading.suite, "command": heading.command, "commit": heading.commit, "environment": facts}


def _table(table: Table) -> dict[str, Any]:
    return {
        "target": table.target,
        "resolution": table.resolution,
        "too_high": table.too_high,
        "rows": [_row(row) for row in table.rows],
        "remarks": list(table.remarks),
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        **key_json(row.key),
        "tries": row.tries,
        "seeds": list(row.seeds),
        "scores": estimates_json(row.scores),
        "lenient": estimates_json(row.lenient),
        "forgetting": estimates_json(row.forgetting),
        "difference": estimates_json(row.difference),
        "gain": estimates_json(row.gain),
        "best": sorted(row.best),
        "tied": sorted(row.tied),
        "not_above": list(row.unbeaten),
        "answers_as": row.same_as,
        "environment": dict(row.foreign),
        "costs": {str(seed): asdict(cost) for seed, cost in row.costs.items()},
        "notes": list(row.notes),
        "problems": problems_json(row.problems),
    }


def key_json(key: RowKey) -> dict[str, Any]:
    """Return what names a row, and what kind of row it is."""
    return {
        "method": key.method,
        "variant": key.variant,
        "rank": key.rank,
        "connector": key.connector,
        "control": key.control,
        "ranked": key.ranked,
        "given": key.given,
    }


def problems_json(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
    """Return why a row lacks numbers."""
    return [{"seed": each.seed, "status": each.status, "error": " ".join(each.error.split())} for each in problems]


def estimates_json(columns: Mapping[str, Estimate]) -> dict[str, Any]:
    """Return the estimates of some columns."""
    return {name: estimate_json(value) for name, value in columns.items()}


def estimate_json(value: Estimate) -> dict[str, Any]:
    """Return an estimate with its interval and its value for each seed."""
    by_seed = {str(seed): number for seed, number in value.by_seed.items()}
    return {"value": value.value, "low": value.low, "high": value.high, "by_seed": by_seed}
