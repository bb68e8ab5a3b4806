"""Give a verdict on every number that a leaderboard and a published table share.

Nothing here reads a run folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from bench.errors import UsageError
from bench.leaderboard.stats import Estimate
from bench.leaderboard.tables import Leaderboard, Row, Table
from bench.plugins.paper import Paper, PublishedRow, compared_rows

Verdict = Literal["reproduced", "above", "below", "cannot tell"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

_DECIMALS = 8  # as for interval bounds, so that a difference of exactly the tolerance is within it
_Cell = tuple[str, int | None, str, str | None]  # method, rank, target, connector


@dataclass(frozen=True, slots=True)
class Compared:
    """One number of a leaderboard and the published number, as fractions.

    ``difference`` is ours minus theirs, with our interval, because the published number is held fixed.
    """

    target: str
    row: Row
    table: str
    column: str
    published: float
    difference: Estimate
    verdict: Verdict

    @property
    def ours(self) -> Estimate:
        """Our number with its interval."""
        return self.row.scores[self.column]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every number that a leaderboard and a paper share.

    ``tolerance`` is in points. ``remarks`` name the rows that only one side has, and the trials that failed or were
    done in a different environment, one line each.
    """

    paper: Paper
    tolerance: float
    board: Leaderboard
    numbers: tuple[Compared, ...]
    remarks: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The count of each verdict. A source score of the zero-shot row counts only once."""
        once = {_identity(number): number.verdict for number in self.numbers}
        counts = Counter(once.values())
        each = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
        return f"Of {len(once)} compared numbers: {each} (tolerance {self.tolerance:g} points)."


def verdict(low: float, high: float, tolerance: float) -> Verdict:
    """Return the verdict on the interval [low, high] of ours minus theirs.

    The number is reproduced if the whole interval is within [-tolerance, tolerance], and above or below if the whole
    interval is beyond it. Otherwise we cannot tell. The tolerance has the same unit as the interval.
    """
    if -tolerance <= low and high <= tolerance:
        return "reproduced"
    if low > tolerance:
        return "above"
    return "below" if high < -tolerance else "cannot tell"


def compare(paper: Paper, board: Leaderboard, tolerance: float) -> Comparison:
    """Return the comparison of a leaderboard with a paper's tables; ``tolerance`` is in points.

    Raises:
        UsageError: they have no number in common.
    """
    theirs: _Theirs = {(*row.place, row.connector): row for row in compared_rows(paper)}
    pairs = list(_pairs(board, theirs))
    numbers = tuple(number for table, row, other in pairs for number in _numbers(board, table, row, other, tolerance))
    if not numbers:
        raise UsageError(
            f"The leaderboard and the tables of {paper.name} have no row in common. The tables have methods "
            f"{_listed(cell[0] for cell in theirs)}; ranks {_listed(cell[1] for cell in theirs if cell[1])}; "
            f"targets {_listed(cell[2] for cell in theirs)}. Run some of these rows."
        )
    remarks = (*_troubles(pairs), *_here_only(board, theirs), *_paper_only(board, theirs))
    return Comparison(paper, tolerance, board, numbers, remarks)


def _cell(row: Row, target: str) -> _Cell:
    """Return the key that matches a row with the paper; a reference row has no rank or connector."""
    return (row.method, row.rank, target, None if row.rank is None else row.connector)


def _cells(board: Leaderboard) -> list[_Cell]:
    return [_cell(row, table.target) for table in board.tables for row in table.rows if not row.variant]


_Theirs = dict[_Cell, PublishedRow]
_Pair = tuple[Table, Row, PublishedRow]


def _pairs(board: Leaderboard, theirs: _Theirs) -> Iterator[_Pair]:
    for table in board.tables:
        for row in table.rows:
            if not row.variant and (cell := _cell(row, table.target)) in theirs:
                yield table, row, theirs[cell]


def _numbers(board: Leaderboard, table: Table, row: Row, other: PublishedRow, tolerance: float) -> Iterator[Compared]:
    for column in board.columns:
        if column in row.scores and column in other.scores:
            difference = _minus(row.scores[column], other.scores[column])
            said = verdict(difference.low, difference.high, round(tolerance / 100, _DECIMALS))
            yield Compared(table.target, row, other.table, column, other.scores[column], difference, said)


def _minus(ours: Estimate, theirs: float) -> Estimate:
    """Return the difference from a number that is held fixed."""
    low, high = round(ours.low - theirs, _DECIMALS), round(ours.high - theirs, _DECIMALS)
    by_seed = {seed: value - theirs for seed, value in ours.by_seed.items()}
    return Estimate(round(ours.value - theirs, _DECIMALS), low, high, by_seed)


def _identity(number: Compared) -> tuple[object, ...]:
    """Return the identity of a number, by which it is counted once.

    The source scores of the zero-shot row are the same numbers in every target's table.
    """
    shared = number.row.rank is None and number.column not in ("target", "avg")
    return (*_cell(number.row, "" if shared else number.target), number.column)


def _troubles(pairs: Sequence[_Pair]) -> Iterator[str]:
    for table, row, _ in pairs:
        if row.problems:
            yield f"{row.label} on {table.target}: {row.trouble}"
        for text in dict.fromkeys(row.foreign.values()):
            yield f"{row.label} on {table.target}: {text}"


def _here_only(board: Leaderboard, theirs: _Theirs) -> Iterator[str]:
    return _blocks("Not in the paper's tables", [cell for cell in _cells(board) if cell not in theirs])


def _paper_only(board: Leaderboard, theirs: _Theirs) -> Iterator[str]:
    """Name the published rows with the leaderboard's connectors that the leaderboard lacks."""
    ours = set(_cells(board))
    fitting = [cell for cell in theirs if cell[3] is None or cell[3] in board.connectors]
    return _blocks("Only in the paper's tables", [cell for cell in fitting if cell not in ours])


def _blocks(what: str, cells: Sequence[_Cell]) -> Iterator[str]:
    """Yield a line per target, rank and connector that names the methods."""
    blocks: dict[tuple[str, int | None, str | None], list[str]] = {}
    for method, rank, target, connector in cells:
        blocks.setdefault((target, rank, connector), []).append(method)
    for (on, of_rank, with_connector), methods in blocks.items():
        place = "" if of_rank is None else f", rank {of_rank}, connector {with_connector}"
        yield f"{what}: {', '.join(methods)} on {on}{place}"


def _listed(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))
