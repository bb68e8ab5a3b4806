"""Compare rows with each other, on one target or after a sequence of tasks. Nothing here reads a file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol, TypeVar

from bench.leaderboard.environments import BySeed, against, described
from bench.leaderboard.marks import Marks, mark
from bench.leaderboard.stats import Draws, Estimate, estimate, smallest_resolvable
from bench.plan.row_key import RowKey
from bench.plugins.registry import BASELINE

Columns = Mapping[str, Draws]
Place = TypeVar("Place")


class Compared(Protocol):
    """A row of a leaderboard or of a sequence, with its paired differences from the baseline."""

    @property
    def key(self) -> RowKey:
        """What the row is."""

    @property
    def difference(self) -> Mapping[str, Estimate]:
        """The row minus its baseline, by column."""

    @property
    def same_as(self) -> str:
        """The row whose answers are all the same, or ""."""

    @property
    def foreign(self) -> Mapping[str, str]:
        """How the environment differs from that of what the row is compared with, by quantity."""

    @property
    def mixed(self) -> bool:
        """Whether rows of different environments are compared all the same."""


def estimates(columns: Columns) -> dict[str, Estimate]:
    """Return every column with its interval."""
    return {column: estimate(draws) for column, draws in columns.items()}


def differences(columns: Columns, others: Columns) -> Columns:
    """Return the paired differences for the columns and seeds that both have."""
    pairs = {column: columns[column].minus(others[column]) for column in columns if column in others}
    return {column: draws for column, draws in pairs.items() if draws.seeds}


def resolution(rows: Iterable[Compared], column: str) -> float | None:
    """Return the smallest difference of a column from the baseline that some rows can resolve; see ``stats``."""
    ranked = (row for row in rows if row.key.ranked and not row.same_as)
    judged = (row for row in ranked if row.mixed or "difference" not in row.foreign)
    return smallest_resolvable(row.difference[column] for row in judged if column in row.difference)


def marks(rivals: Mapping[Place, Mapping[RowKey, Draws]]) -> dict[Place, Marks[RowKey]]:
    """Mark the rows that compete in each place, if there are at least two."""
    return {place: mark(rows) for place, rows in rivals.items() if len(rows) > 1}


def foreign(key: RowKey, mine: BySeed, rivals: Iterable[tuple[RowKey, BySeed]]) -> str:
    """Return how the environments of a ranked row differ from those of its ``rivals``, or "".

    Each field is compared with the baseline, or with the first other row that has the field if the baseline lacks it.
    """
    if not key.ranked:
        return ""
    first = sorted(rivals, key=lambda rival: rival[0].name != BASELINE)
    return described(against(mine, [(other.label, theirs) for other, theirs in first]))


def mismatch(mine: BySeed, other: RowKey, theirs: BySeed, stages: Collection[str] | None = None) -> str:
    """Return how a row's environments differ from those of another row, or ""; see ``against``.

    The untouched base model is not trained, and its one seed serves every seed.
    """
    if other.rank is None and theirs:
        theirs = dict.fromkeys(mine, next(iter(theirs.values())))
    return described(against(mine, [(other.label, theirs)], stages))


def answers_alike(key: RowKey, mine: Mapping[int, object], baseline: Mapping[int, object]) -> bool:
    """Whether a ranked row gave the baseline's answer to every example, with each seed that the row has."""
    return key.ranked and any(mine.values()) and all(each and baseline.get(seed) == each for seed, each in mine.items())
