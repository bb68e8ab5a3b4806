"""Chains of three tasks with scores that were chosen: the worked example of a sequence."""

from __future__ import annotations

from collections.abc import Sequence

from bench.leaderboard.heading import Heading
from bench.sequences.board import SequenceBoard, SequenceRow
from bench.sequences.build import build
from bench.sequences.grouping import ChainScores
from tests.making.sequences import SOURCES, TASK_ID, chain, key, untouched

A, B, C = TASKS = ("a", "b", "c")
WORKED = ((80, 30, 20), (70, 60, 25), (64, 54, 90))
ALONE = ((80, 0, 0), (0, 62, 0), (0, 0, 91))
SOURCE = ((30, 20),)


def plain(matrix: Sequence[Sequence[int]] = WORKED, order: Sequence[str] = TASKS, **more: object) -> ChainScores:
    """Return a chain of plain LoRA on 100 examples a task."""
    return made("lora", matrix, order, **more)


def made(
    method: str, matrix: Sequence[Sequence[int]] = WORKED, order: Sequence[str] = TASKS, **more: object
) -> ChainScores:
    return chain(key(method, given=str(more.pop("given", ""))), order, matrix, **more)  # type: ignore[arg-type]


def alone(order: Sequence[str] = TASKS, seed: int = 0) -> ChainScores:
    """Return plain LoRA on each task alone."""
    place = [TASKS.index(task) for task in order]
    matrix = [[ALONE[row][column] for column in place] for row in place]
    return chain(key("lora", "independent", given=TASK_ID), order, matrix, seed=seed, apart=True)


def zero_shot() -> ChainScores:
    return untouched({"a": 50, "b": 28, "c": 22})


def built(*chains: ChainScores, mixed: bool = False, **more: object) -> SequenceBoard:
    heading = Heading("micro", mixed=mixed)
    return build(chains, zero_shot(), tasks=TASKS, sources=SOURCES, heading=heading, **more)  # type: ignore[arg-type]


def row(board: SequenceBoard, name: str, block: int = 0) -> SequenceRow:
    return next(row for row in board.blocks[block].rows if row.key.name == name)


def values(of: SequenceRow) -> dict[str, float]:
    return {column: 100 * found.value for column, found in of.metrics.items()}
