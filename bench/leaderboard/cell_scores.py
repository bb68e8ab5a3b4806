"""The scores of a cell's trial, from which a leaderboard is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.leaderboard.environments import Facts
from bench.leaderboard.stats import FloatArray
from bench.plan.row_key import RowKey
from bench.values.record import Cost

Status = Literal["done", "failed", "missing"]

NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class CellScores:
    """The scores of a cell's trial, one number per example and task, or the reason why it has no scores.

    ``primary`` and ``lenient`` are [n] by task, and ``answers`` is a digest of the answers by task, if they are known.
    ``target`` is None for the untouched base model. A trial that is ``done`` may lack a task's scores; tables show this
    as a hole. ``environments`` has the environment fields that
    matter for comparisons (bench.leaderboard.environments).
    """

    key: RowKey
    target: str | None
    seed: int
    status: Status = "done"
    error: str | None = None
    primary: Mapping[str, FloatArray] = field(default_factory=dict)
    lenient: Mapping[str, FloatArray] = field(default_factory=dict)
    answers: Mapping[str, str] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    environments: Facts = field(default_factory=dict)
