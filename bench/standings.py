"""What the store has of a plan, as the cells of a leaderboard."""

from __future__ import annotations

import numpy as np

from bench.leaderboard import NOT_RUN, CellScores, Heading, Leaderboard
from bench.plan import Cell, Plan
from bench.ranking import build
from bench.registry import load_method
from bench.spec import Asked, Record
from bench.store import Store

LENIENT = "lenient"


def leaderboard(plan: Plan, store: Store, heading: Heading) -> Leaderboard:
    """Return the leaderboard of a plan, holes and failures included, from what the store has now."""
    asked = {work.trial.id: work.asked for work in plan.works}
    cells = [_scored(cell, store, asked[cell.trial.id]) for cell in plan.cells]
    zero_shot = _scored(Cell.of(plan.zero_shot), store, asked[plan.zero_shot.id])
    return build(
        cells,
        zero_shot,
        sources=plan.request.sources,
        targets=plan.request.targets,
        heading=heading,
    )


def _scored(cell: Cell, store: Store, asked: tuple[Asked, ...]) -> CellScores:
    trial = cell.trial
    record = store.read(trial) or Record(trial, "failed", error=NOT_RUN)
    primary, lenient = _scores(record, store, asked)
    return CellScores(
        method=cell.method,
        rank=trial.rank,
        target=trial.target,
        seed=trial.seed,
        connector=cell.connector,
        ranked=not cell.control and load_method(cell.method).ranked,
        status="missing" if record.error == NOT_RUN else "done" if record.status == "done" else "failed",
        error=record.error,
        primary=primary,
        lenient=lenient,
        cost=record.cost,
        variant=cell.variant,
        tries=cell.tries,
        control=cell.control,
        against=cell.against,
    )


def _scores(
    record: Record, store: Store, asked: tuple[Asked, ...]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the primary and the lenient scores, one number per example, by task."""
    primary, lenient = {}, {}
    for item in asked:
        score = record.scores.get(item.key)
        if score is None:
            continue
        rows = store.read_scores(record.trial, score)
        primary[item.task] = np.array([row["scores"][score.primary] for row in rows])
        if LENIENT in score.metrics:
            lenient[item.task] = np.array([row["scores"][LENIENT] for row in rows])
    return primary, lenient
