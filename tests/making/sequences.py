"""Made-up chains of a sequence of tasks, with scores that were chosen, and the base model before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bench.leaderboard.cell_scores import NOT_RUN, CellScores
from bench.plan.row_key import RowKey
from bench.sequences.grouping import ChainScores
from bench.values.record import Cost
from tests.making.boards import right

EXAMPLES = 100
SOURCES = ("easy_vqa", "sign_words")
TASK_ID = "task id given"


def key(method: str, variant: str = "", rank: int = 16, given: str = "") -> RowKey:
    """Return the key of a row; one with a variant is a control."""
    return RowKey(method, variant, rank, "full", ranked=not variant, control=bool(variant), given=given)


def stage(made_for: RowKey, scores: Mapping[str, int], sources: Sequence[int] | None = None) -> CellScores:
    """Return what a stage scores: numbers of right answers by task, and those of the sources if they are scored.

    The answers are those of the row alone.
    """
    known = dict(scores) | (dict(zip(SOURCES, sources, strict=True)) if sources is not None else {})
    primary = {task: right(hits, EXAMPLES) for task, hits in known.items()}
    answers = {task: f"{made_for.name} {hits}" for task, hits in known.items()}
    return CellScores(made_for, None, 0, primary=primary, answers=answers, cost=Cost(train_seconds=30.0))


def chain(
    made_for: RowKey,
    order: Sequence[str],
    matrix: Sequence[Sequence[int]],
    sources: Sequence[Sequence[int] | None] | None = None,
    *,
    seed: int = 0,
    apart: bool = False,
) -> ChainScores:
    """Return a chain that lacks nothing; ``matrix`` has the right answers of each task after each stage.

    ``sources`` has those of the sources after each stage; by default they are scored after the last one.
    """
    after = [None] * (len(order) - 1) + [(30, 20)] if sources is None else sources
    stages = tuple(
        replace(stage(made_for, dict(zip(order, row, strict=True)), known), seed=seed)
        for row, known in zip(matrix, after, strict=True)
    )
    return ChainScores(
        made_for,
        tuple(order),
        seed,
        stages,
        tuple(tuple(each.primary) for each in stages),
        apart=apart,
        forms={task: right(36, EXAMPLES) for task in order},
        updates=150,
        kept_bytes=len(order) * 400_000 if apart else 400_000,
    )


def untouched(scores: Mapping[str, int], sources: Sequence[int] = (90, 80)) -> ChainScores:
    """Return the base model as a chain of one stage."""
    named = RowKey("zero_shot", "", None, "full", ranked=False)
    cell = replace(stage(named, scores, sources), cost=Cost())
    forms = {task: right(20, EXAMPLES) for task in scores}
    return ChainScores(named, (), 0, (cell,), (tuple(cell.primary),), forms=forms)


def broken(of: ChainScores, number: int, error: str = "", seed: int | None = None) -> ChainScores:
    """Return a chain whose stage ``number``, from 1, failed with an error, or did not run; none follows it."""
    seed = of.seed if seed is None else seed
    bare = replace(of.stages[0], primary={}, answers={}, seed=seed)
    missing = replace(bare, status="missing", error=NOT_RUN)
    here = replace(bare, status="failed", error=error) if error else missing
    after = [missing] * (len(of.order) - number)
    return replace(of, seed=seed, stages=(*of.stages[: number - 1], here, *after), forms={}, kept_bytes=None)


def without(of: ChainScores, number: int, task: str) -> ChainScores:
    """Return a chain that lacks the score of a task after a stage."""
    cell = of.stages[number - 1]
    bare = replace(cell, primary={name: scores for name, scores in cell.primary.items() if name != task})
    stages = (*of.stages[: number - 1], bare, *of.stages[number:])
    return replace(of, stages=stages)


def drawn(seed: int, order: Sequence[str], level: float) -> list[list[int]]:
    """Return a matrix in which each task is learnt at its stage and forgotten a little after it."""
    random = np.random.default_rng(seed)
    tasks = len(order)
    rows = [
        [level - 0.06 * (row - task) if task <= row else 0.25 + 0.02 * row for task in range(tasks)]
        for row in range(tasks)
    ]
    noisy = np.clip(np.array(rows) + 0.02 * random.standard_normal((tasks, tasks)), 0, 1)
    return [[round(EXAMPLES * value) for value in row] for row in noisy.tolist()]
