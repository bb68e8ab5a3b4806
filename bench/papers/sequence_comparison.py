"""Give a verdict on every number that the tables of a sequence and a published table share.

Nothing here reads a run folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.errors import PluginError, UsageError
from bench.leaderboard.stats import Estimate
from bench.papers.comparison import Compared, Comparison, MatchKey, in_blocks, listed
from bench.plan.chains import order_name
from bench.plugins.paper import PublishedRow, SequencePaper, compared_rows
from bench.sequences.board import SEQUENCE_COLUMNS, SequenceBoard, SequenceRow


def compare_sequences(paper: SequencePaper, board: SequenceBoard, tolerance: float) -> Comparison:
    """Return the comparison of a sequence's tables with a paper's; ``tolerance`` is in points.

    Raises:
        UsageError: they have no order, or no row, in common.
        PluginError: the paper has a score of something that is neither a task of its row nor a column of our tables.
    """
    theirs: dict[MatchKey, PublishedRow] = {
        (*row.place, row.connector, row.variant): row for row in compared_rows(paper)
    }
    ours = {_key(row, block.order): row for block in board.blocks for row in block.rows}
    for row in theirs.values():
        _check_columns(paper, row)
    _check_orders(paper, board, theirs)
    shared = {key: (ours[key], theirs[key]) for key in ours if key in theirs}
    numbers = tuple(number for key, (row, other) in shared.items() for number in _numbers(key, row, other))
    if not numbers:
        raise UsageError(
            f"The sequence and the tables of {paper.name} have no number in common. The tables have methods "
            f"{listed(f'{key[0]} {key[4]}'.rstrip() for key in theirs)}; "
            f"ranks {listed(key[1] for key in theirs if key[1])}. Run some of these rows."
        )
    orders = {order_name(order) for order in board.orders}
    here_only = [key for key, row in ours.items() if key not in theirs and row.key.variant != "tuned"]
    paper_only = [key for key in theirs if key not in ours and key[2] in orders]
    elsewhere = [key[2] for key in theirs if key[2] not in orders]
    remarks = (
        *(line for key, (row, other) in shared.items() for line in _troubles(row, other, key[2])),
        *in_blocks("Not in the paper's tables", here_only),
        *in_blocks("Only in the paper's tables", paper_only),
        *(f"Only in the paper's tables: the order {order}" for order in dict.fromkeys(elsewhere)),
    )
    return Comparison(paper, tolerance, "order", board.setting, board.covered, numbers, remarks)


def _check_columns(paper: SequencePaper, row: PublishedRow) -> None:
    known = (*row.target.split("."), *SEQUENCE_COLUMNS)
    if odd := [column for column in row.scores if column not in known]:
        raise PluginError(
            f"{paper.file} has {listed(odd)} for {row.method} on {row.target}, which is neither a task of this order "
            f"nor a column of a sequence's table. Those are {listed(SEQUENCE_COLUMNS)}."
        )


def _check_orders(paper: SequencePaper, board: SequenceBoard, theirs: Mapping[MatchKey, PublishedRow]) -> None:
    published = list(dict.fromkeys(key[2] for key in theirs))
    ours = [order_name(order) for order in board.orders]
    if not set(published) & set(ours):
        instead = published[0].replace(".", ",") if published else "none"
        raise UsageError(
            f"The paper {paper.name} learnt its tasks in the order {' and '.join(published)}, but this sequence in "
            f"{' and '.join(ours)}. A score after the last stage depends on the order. Run bench sequence --tasks "
            f"{instead}."
        )


def _numbers(key: MatchKey, row: SequenceRow, other: PublishedRow) -> Iterator[Compared]:
    """Yield every number that our row shares with a published one: tasks first, then what sums them up."""
    found = _scores(row, other)
    for column, ours in found.items():
        if column in other.scores:
            title = SEQUENCE_COLUMNS.get(column, "")
            yield Compared(other.table, key[2], row.key, key[3], column, title, ours, other.scores[column])


def _scores(row: SequenceRow, other: PublishedRow) -> dict[str, Estimate]:
    """Return our score of each task after the last stage, and our columns."""
    stages = len(other.target.split("."))
    last = [stage for stage in row.stages if stage.number == stages or row.key.rank is None]
    return {**(last[-1].scores if last else {}), **row.metrics}


def _troubles(row: SequenceRow, other: PublishedRow, order: str) -> Iterator[str]:
    if row.problems:
        yield f"{row.key.label} on {order}: {row.trouble}"
    for text in dict.fromkeys(row.foreign.values()):
        yield f"{row.key.label} on {order}: {text}"
    found = _scores(row, other)
    if lacking := [SEQUENCE_COLUMNS.get(column, column) for column in other.scores if column not in found]:
        yield f"{row.key.label} on {order}: the paper also has {listed(lacking)}, which this sequence did not measure"


def _key(row: SequenceRow, order: tuple[str, ...]) -> MatchKey:
    """Return the key that matches a row with the paper; a reference row has no rank or connector."""
    key = row.key
    return (key.method, key.rank, order_name(order), None if key.rank is None else key.connector, key.variant)
