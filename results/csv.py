"""The leaderboard as CSV for other programs: one number per line, with its interval."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bench import csv_text

if TYPE_CHECKING:
    from bench import Estimate, Leaderboard, Row, SequenceBoard

COLUMNS = (
    "suite",
    "target",
    "method",
    "variant",  # what distinguishes the row from the method's own row
    "control",  # true for a trivial baseline that a method should beat
    "tries",  # how many configurations were tried to choose the row
    "rank",
    "connector",
    "ranked",
    # score, lenient, forgetting, difference (from the baseline), gain (over the method's own row), the name of a cost,
    # not above, left out, environment, or problem
    "quantity",
    # a source task, source, target or avg; for not above, a control; for left out, a source that Source does not count;
    # for environment, what it affects
    "of",
    "seed",  # empty for all seeds together; only lines without a seed have an interval and a mark
    "value",  # a score is a fraction; CIDEr may exceed 1
    "low",
    "high",
    "mark",  # best, or tied with the best, for a score; foreign for a difference between environments
    "status",  # done, failed, missing
    "error",
    "given",  # what the row was given that plain LoRA is not, such as source data
)
_FLOATS = "%.10g"


def write(leaderboard: Leaderboard, path: Path) -> Path:
    """Write the leaderboard as one CSV file in UTF-8."""
    path.write_text(render(leaderboard), encoding="utf-8")
    return path


def write_sequences(board: SequenceBoard, path: Path) -> Path:
    """Write a line for each row of a sequence; ``NAME-matrix.csv`` gets a line for each score after a stage."""
    for frame, file in ((board.frame(), path), (board.matrix(), path.with_name(f"{path.stem}-matrix.csv"))):
        file.write_text(csv_text(frame, _FLOATS), encoding="utf-8")
    return path


def render(leaderboard: Leaderboard) -> str:
    """Return the CSV text, with one line for each number, failure and hole of the leaderboard."""
    lines = [
        {"suite": leaderboard.heading.suite, "target": table.target, **_place(row), **line}
        for table in leaderboard.tables
        for row in table.rows
        for line in (*_measured(row), *_left_out(leaderboard), *_costs(row), *_problems(row))
    ]
    frame = pd.DataFrame(lines, columns=list(COLUMNS)).astype({"rank": "Int64", "seed": "Int64"})
    return csv_text(frame, _FLOATS)


def _left_out(leaderboard: Leaderboard) -> Iterator[dict[str, object]]:
    for source in leaderboard.left_out:
        yield {"quantity": "left out", "of": source}


def _place(row: Row) -> dict[str, object]:
    what = {"method": row.method, "variant": row.variant, "control": row.control, "tries": row.tries}
    return {**what, "rank": row.rank, "connector": row.connector, "ranked": row.ranked, "given": row.given}


def _measured(row: Row) -> Iterator[dict[str, object]]:
    quantities = {
        "score": row.scores,
        "lenient": row.lenient,
        "forgetting": row.forgetting,
        "difference": row.difference,
        "gain": row.gain,
    }
    for quantity, estimates in quantities.items():
        for column, estimate in estimates.items():
            mark = row.mark(column) if quantity == "score" else "foreign" if row.refuses(quantity) else ""
            yield from _lines({"quantity": quantity, "of": column, "status": "done"}, estimate, mark)


def _lines(line: dict[str, object], estimate: Estimate, mark: str) -> Iterator[dict[str, object]]:
    bounds = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    yield {**line, **bounds, "mark": mark}
    for seed, value in estimate.by_seed.items():
        yield {**line, "seed": seed, "value": value}


def _costs(row: Row) -> Iterator[dict[str, object]]:
    for seed, cost in row.costs.items():
        for name in ("train_seconds", "evaluate_seconds", "peak_memory_bytes", "trainable_parameters"):
            yield {"quantity": name, "seed": seed, "value": getattr(cost, name), "status": "done"}


def _problems(row: Row) -> Iterator[dict[str, object]]:
    for name in row.unbeaten:
        yield {"quantity": "not above", "of": name, "status": "done"}
    for quantity, text in row.foreign.items():
        yield {"quantity": "environment", "of": quantity, "status": "done", "error": text}
    for problem in row.problems:
        error = " ".join(problem.error.split())
        yield {"quantity": "problem", "seed": problem.seed, "status": problem.status, "error": error}
