"""Pair the numbers of a study with the paper's, if the two can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.console import say
from bench.papers.comparable import reasons
from bench.papers.study import StudyResult
from bench.plan.request import Request
from bench.plugins.paper import PublishedRow, published_rows

if TYPE_CHECKING:
    from bench.leaderboard.stats import Estimate
    from bench.leaderboard.tables import Row

_PAPER = "lorasculpt"
# The variants that the paper's tables give a method's own row. Another connector is not a variant there.
_OWN = frozenset({"lora", "srr+rkh", "beta=1e-5"})
_CONNECTOR = "connector="

Cell = tuple[str, int | None, str, str | None, str]  # method, rank, target, connector, variant


@dataclass(frozen=True, slots=True)
class Pair:
    """One of our numbers and the paper's, as fractions. ``connector`` is that of our recipe."""

    table: str
    target: str
    row: Row
    connector: str | None
    column: str
    published: float

    @property
    def ours(self) -> Estimate:
        """Our number."""
        return self.row.scores[self.column]

    @property
    def difference(self) -> float:
        """Ours minus theirs."""
        return self.ours.value - self.published


def rows(request: Request) -> tuple[PublishedRow, ...]:
    """Return the paper's rows, or nothing if they are not comparable with the request's.

    The reasons are printed, except if the suite is another one.
    """
    paper = request.registry.paper(_PAPER)
    if request.suite.name != paper.suite:
        return ()
    found = reasons(paper, request)
    for reason in found:
        say(f"The published numbers are left out: {reason}.")
    return () if found else published_rows(paper)


def beside(tables: Sequence[str], found: StudyResult) -> tuple[Pair, ...]:
    """Return every number that a leaderboard shares with some tables of the paper, in its own order."""
    theirs = {_theirs(row): row for row in found.published if row.table in tables}
    connectors = {(cell.key, cell.trial.target): cell.trial.recipe.connector for cell in found.plan.cells}
    pairs = []
    for table in found.board.tables:
        for row in table.rows:
            connector = connectors.get((row.key, table.target))
            variant = "" if row.variant.startswith(_CONNECTOR) else row.variant
            other = theirs.get((row.method, row.rank, table.target, connector, variant))
            for column in found.board.columns if other else ():
                if other is not None and column in other.scores and column in row.scores:
                    value = other.scores[column]
                    pairs.append(Pair(other.table, table.target, row, connector, column, value))
    return tuple(pairs)


def _theirs(row: PublishedRow) -> Cell:
    return (row.method, row.rank, row.target, row.connector, "" if row.variant in _OWN else row.variant)


def own(found: StudyResult, cell: tuple[str, int, str]) -> PublishedRow | None:
    """Return the paper's row of a method, rank and target with the request's connector, or None."""
    theirs = {_theirs(row): row for row in reversed(found.published)}
    return theirs.get((*cell, found.request.recipe.connector, ""))
