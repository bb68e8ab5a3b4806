"""Find the paper's numbers next to those of a study, if the two can be compared."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from bench.console import warn
from bench.papers.comparable import reasons
from bench.papers.study import StudyResult
from bench.plan.request import Request
from bench.plugins.groups import PAPER
from bench.plugins.paper import PublishedRow, published_rows

if TYPE_CHECKING:
    from bench.leaderboard.tables import Row
    from bench.papers.comparison import Compared, MatchKey

# The variants that the paper's tables give a method's own row. Another connector is not a variant there.
_OWN = frozenset({"lora", "srr+rkh", "beta=1e-5"})
_CONNECTOR = "connector="


def rows(request: Request, left_out: Collection[str] = ()) -> tuple[PublishedRow, ...]:
    """Return the paper's rows, or nothing if they are not comparable with the request's.

    ``left_out`` has the sources that the request's Source leaves out.
    The reasons are printed, except if the suite is another one.
    """
    paper = request.registry.paper(PAPER)
    if request.suite.name != paper.suite:
        return ()
    found = reasons(paper, request, left_out)
    for reason in found:
        warn(f"The published numbers are left out: {reason}.")
    return () if found else published_rows(paper)


def beside(tables: Sequence[str], found: StudyResult) -> tuple[Compared, ...]:
    """Return every number that a leaderboard shares with some tables of the paper, in its own order."""
    from bench.papers.comparison import shared_numbers  # imported here because listings need no pandas

    theirs = {_key(row): row for row in found.published if row.table in tables}
    connectors = {(cell.key, cell.trial.target): cell.trial.recipe.connector for cell in found.plan.cells}

    def key_of(row: Row, target: str) -> MatchKey:
        variant = "" if row.variant.startswith(_CONNECTOR) else row.variant
        return (row.method, row.rank, target, connectors.get((row.key, target)), variant)

    return tuple(shared_numbers(found.board, theirs, key_of))


def own(found: StudyResult, cell: tuple[str, int, str]) -> PublishedRow | None:
    """Return the paper's row of a method, rank and target with the request's connector, or None."""
    theirs = {_key(row): row for row in reversed(found.published)}
    return theirs.get((*cell, found.request.recipe.connector, ""))


def _key(row: PublishedRow) -> MatchKey:
    return (*row.place, row.connector, "" if row.variant in _OWN else row.variant)
