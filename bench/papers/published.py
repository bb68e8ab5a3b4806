"""The paper's numbers beside a study's, where the suite is the paper's and nothing else makes them others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.console import say
from bench.papers.comparable import reasons
from bench.papers.study import Found
from bench.plan.plan import Request
from bench.plugins.paper import PublishedRow, published_rows
from bench.plugins.registry import load_paper

if TYPE_CHECKING:
    from pandas import DataFrame

    from bench.leaderboard.stats import Estimate
    from bench.leaderboard.tables import Row

_PAPER = "lorasculpt"
# What its tables call the method's own row; another connector is no variant there.
_OWN = frozenset({"lora", "srr+rkh", "beta=1e-5"})
_CONNECTOR = "connector="
_NAMES = {"source": "Source", "target": "Target", "avg": "Avg"}

Cell = tuple[str, int | None, str, str | None, str]  # method, rank, target, connector, variant


@dataclass(frozen=True, slots=True)
class Pair:
    """A number of ours with its interval beside the paper's, as fractions. ``connector`` is the recipe's."""

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
    """Return the paper's rows, or none where they are not comparable; then say why, unless it is another suite."""
    paper = load_paper(_PAPER)
    if request.suite.name != paper.suite:
        return ()
    found = reasons(paper, request)
    for reason in found:
        say(f"The published numbers are left out: {reason}.")
    return () if found else published_rows(paper)


def beside(tables: Sequence[str], found: Found) -> tuple[Pair, ...]:
    """Return every number that some of the paper's tables and a leaderboard both have, in the leaderboard's order."""
    theirs = {_theirs(row): row for row in found.published if row.table in tables}
    connectors = {
        (cell.method, cell.trial.rank, cell.trial.target, cell.variant): cell.trial.recipe.connector
        for cell in found.plan.cells
    }
    pairs = []
    for table in found.board.tables:
        for row in table.rows:
            connector = connectors.get((row.method, row.rank, table.target, row.variant))
            variant = "" if row.variant.startswith(_CONNECTOR) else row.variant
            other = theirs.get((row.method, row.rank, table.target, connector, variant))
            for column in found.board.columns if other else ():
                if other is not None and column in other.scores and column in row.scores:
                    value = other.scores[column]
                    pairs.append(Pair(other.table, table.target, row, connector, column, value))
    return tuple(pairs)


def _theirs(row: PublishedRow) -> Cell:
    return (row.method, row.rank, row.target, row.connector, "" if row.variant in _OWN else row.variant)


def own(found: Found, cell: tuple[str, int, str]) -> PublishedRow | None:
    """Return the paper's row of a method, rank and target under the request's connector, if it has one."""
    theirs = {_theirs(row): row for row in reversed(found.published)}
    return theirs.get((*cell, found.request.recipe.connector, ""))


def frame(pairs: Sequence[Pair]) -> DataFrame:
    """Return the pairs as a frame, a number a line."""
    import pandas as pd

    return pd.DataFrame([_line(pair) for pair in pairs]).astype({"rank": "Int64"})


def _line(pair: Pair) -> dict[str, object]:
    return {
        "table": pair.table,
        "target": pair.target,
        "method": pair.row.method,
        "variant": pair.row.variant,
        "rank": pair.row.rank,
        "connector": pair.connector,
        "of": pair.column,
        "value": pair.ours.value,
        "low": pair.ours.low,
        "high": pair.ours.high,
        "published": round(pair.published, 8),
        "difference": round(pair.difference, 8),
    }


def write(pairs: Sequence[Pair], folder: Path) -> list[Path]:
    """Write the pairs as published.csv and published.md."""
    table, text = folder / "published.csv", folder / "published.md"
    table.write_text(frame(pairs).to_csv(index=False, lineterminator="\n"), encoding="utf-8")
    head = ("target", "row", "score", "ours", "interval", "paper", "difference")
    align = ("---", "---", "---", "---:", "---:", "---:", "---:")
    grid = (head, align, *(_cells(pair) for pair in pairs))
    notes = ["", _NOTE]
    text.write_text("\n".join([*(f"| {' | '.join(cells)} |" for cells in grid), *notes]) + "\n", encoding="utf-8")
    return [table, text]


def lines(pairs: Sequence[Pair]) -> Iterator[str]:
    """Yield Source, Target and Avg beside the paper's, for the terminal."""
    grid: list[tuple[str, ...]] = [("target", "row", "score", "ours", "interval", "paper", "difference")]
    grid += [_cells(pair) for pair in pairs if pair.column in _NAMES]
    widths = [max(len(cells[i]) for cells in grid) for i in range(len(grid[0]))]
    for cells in grid:
        words = [cell.ljust(width) for cell, width in zip(cells[:3], widths, strict=False)]
        numbers = [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:], strict=True)]
        yield "  ".join([*words, *numbers])
    yield _NOTE


_NOTE = "Scores are x100; difference = ours - the paper's. bench compare judges such differences for Tables 1 and 2."


def _cells(pair: Pair) -> tuple[str, ...]:
    ours = pair.ours
    bounds = f"[{100 * ours.low:z.2f}, {100 * ours.high:z.2f}]"
    theirs = (f"{100 * pair.published:.2f}", f"{100 * pair.difference:+z.2f}")
    return (pair.target, pair.row.label, _NAMES.get(pair.column, pair.column), ours.percent, bounds, *theirs)
