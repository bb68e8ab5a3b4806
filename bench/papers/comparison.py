"""Give a verdict on every number that a leaderboard and a published table share.

Nothing here reads a run folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from bench.errors import UsageError
from bench.leaderboard.stats import Estimate
from bench.leaderboard.tables import Leaderboard, Row
from bench.plan.row_key import RowKey
from bench.plugins.paper import Paper, PublishedRow, SequencePaper, compared_rows

Verdict = Literal["reproduced", "above", "below", "cannot tell"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
MatchKey = tuple[str, int | None, str, str | None, str]  # method, rank, target, connector, variant

_TITLES = {"source": "Source", "target": "Target", "avg": "Avg"}
_DECIMALS = 8  # as for interval bounds, so that a difference of exactly the tolerance is within it


@dataclass(frozen=True, slots=True)
class Compared:
    """One of our numbers and the published number, as fractions.

    ``place`` is the target of a leaderboard, or the order of a sequence. ``key`` is that of our row. ``connector`` is
    that of our recipe; it is None for a reference row. ``title`` is how tables write a score that sums up others; it is
    empty for the score of one task.
    """

    table: str
    place: str
    key: RowKey
    connector: str | None
    column: str
    title: str
    ours: Estimate
    published: float

    @property
    def difference(self) -> Estimate:
        """Ours minus theirs, with our interval, because the published number is held fixed."""
        ours = self.ours
        value, low, high = (round(bound - self.published, _DECIMALS) for bound in (ours.value, ours.low, ours.high))
        return Estimate(value, low, high, {seed: each - self.published for seed, each in ours.by_seed.items()})


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every number that a run and a paper share.

    ``grouped_by`` says what has a table of its own. ``tolerance`` is in points. ``setting`` and ``covered`` are the
    run's own texts. ``remarks`` name the rows that only one side has, and the trials that failed or were done in a
    different environment, one line each.
    """

    paper: Paper | SequencePaper
    tolerance: float
    grouped_by: Literal["target", "order"]
    setting: str
    covered: str
    numbers: tuple[Compared, ...]
    remarks: tuple[str, ...]

    def verdict(self, number: Compared) -> Verdict:
        """Return the verdict on one of the numbers."""
        return verdict(number.difference.low, number.difference.high, round(self.tolerance / 100, _DECIMALS))

    @property
    def summary(self) -> str:
        """The count of each verdict. A source score of the zero-shot row counts once, others once for each place."""
        once = {_identity(number): self.verdict(number) for number in self.numbers}
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
    theirs: dict[MatchKey, PublishedRow] = {(*row.place, row.connector, ""): row for row in compared_rows(paper)}
    numbers = tuple(shared_numbers(board, theirs, _key))
    if not numbers:
        raise UsageError(
            f"The leaderboard and the tables of {paper.name} have no row in common. The tables have methods "
            f"{listed(key[0] for key in theirs)}; ranks {listed(key[1] for key in theirs if key[1])}; "
            f"targets {listed(key[2] for key in theirs)}. Run some of these rows."
        )
    ours = {_key(row, table.target): row for table in board.tables for row in table.rows}
    here_only = [key for key in ours if key not in theirs and not key[4]]
    paper_only = [key for key in theirs if key not in ours and key[3] in (None, *board.connectors)]
    remarks = (
        *(line for key, row in ours.items() if key in theirs for line in _troubles(row, key[2])),
        *in_blocks("Not in the paper's tables", here_only),
        *in_blocks("Only in the paper's tables", paper_only),
    )
    return Comparison(paper, tolerance, "target", board.setting, board.covered, numbers, remarks)


def shared_numbers(
    board: Leaderboard, theirs: Mapping[MatchKey, PublishedRow], key_of: Callable[[Row, str], MatchKey]
) -> Iterator[Compared]:
    """Yield every number that a leaderboard shares with published rows, in the leaderboard's order.

    ``key_of`` returns the key in ``theirs`` of a leaderboard's row on a target.
    """
    for table in board.tables:
        for row in table.rows:
            key = key_of(row, table.target)
            if (other := theirs.get(key)) is not None:
                for column in board.columns:
                    if column in row.scores and column in other.scores:
                        title, ours, published = _TITLES.get(column, ""), row.scores[column], other.scores[column]
                        yield Compared(other.table, table.target, row.key, key[3], column, title, ours, published)


def _key(row: Row, target: str) -> MatchKey:
    """Return the key that matches a row with the paper; a reference row has no rank or connector."""
    return (row.method, row.rank, target, None if row.rank is None else row.connector, row.variant)


def _identity(number: Compared) -> tuple[object, ...]:
    """Return the identity of a number, by which it is counted once.

    The source scores of the zero-shot row are the same numbers in every target's table.
    """
    key = number.key
    shared = key.rank is None and number.column not in ("target", "avg")
    return (key, number.connector, "" if shared else number.place, number.column)


def _troubles(row: Row, target: str) -> Iterator[str]:
    if row.problems:
        yield f"{row.label} on {target}: {row.trouble}"
    for text in dict.fromkeys(row.foreign.values()):
        yield f"{row.label} on {target}: {text}"


def in_blocks(what: str, keys: Sequence[MatchKey]) -> Iterator[str]:
    """Yield a line per target or order, rank and connector that names the methods."""
    blocks: dict[tuple[str, int | None, str | None], list[str]] = {}
    for method, rank, target, connector, variant in keys:
        blocks.setdefault((target, rank, connector), []).append(f"{method} {variant}".rstrip())
    for (on, of_rank, with_connector), methods in blocks.items():
        place = "" if of_rank is None else f", rank {of_rank}, connector {with_connector}"
        yield f"{what}: {', '.join(methods)} on {on}{place}"


def listed(values: Iterable[object]) -> str:
    """Return the values, each once, separated by commas."""
    return ", ".join(dict.fromkeys(map(str, values)))
