"""Give a verdict on every number that the tables of a sequence and a published table share.

Nothing here reads a run folder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from bench.errors import PluginError, UsageError
from bench.leaderboard.stats import Estimate
from bench.papers.comparison import Compared, Comparison, MatchKey, in_blocks, listed
from bench.plan.chains import order_name, tasks_in
from bench.plugins.paper import PublishedRow, SequencePaper, compared_rows
from bench.sequences.board import SEQUENCE_COLUMNS, SequenceBoard, SequenceRow

_OF_SOURCES = {"source", "source_lost"}


def compare_sequences(
    paper: SequencePaper, board: SequenceBoard, tolerance: float, other_sources: Collection[str] = ()
) -> Comparison:
    """Return the comparison of a sequence's tables with a paper's; ``tolerance`` is in points.

    ``other_sources`` says why our Source is another mean than the paper's; it is then not compared.

    Raises:
        UsageError: they have no order, or no number, in common.
        PluginError: the paper has no row, or a score of something that is neither a task of its row nor a column of
            our tables.
    """
    theirs = _published(paper)
    ours = {_key(row, block.order): row for block in board.blocks for row in block.rows}
    _check_orders(paper, board, theirs)
    left_out = _OF_SOURCES if other_sources or not paper.sources else set[str]()
    shared = {key: (_numbers_of(ours[key], key[2], left_out), theirs[key]) for key in ours if key in theirs}
    numbers = tuple(each for key, (found, other) in shared.items() for each in _compared(key, ours[key], found, other))
    if not numbers:
        rows = listed(f"{key[0]} {key[4]}".rstrip() for key in theirs)
        raise UsageError(
            f"The sequence and the tables of {paper.name} have no number in common. The tables have the rows {rows}; "
            f"ranks {listed(key[1] for key in theirs if key[1])}. Run some of these rows."
        )
    orders = {order_name(order) for order in board.orders}
    remarks = (
        *(f"Source is not compared: {reason}" for reason in other_sources),
        *(line for key, (found, other) in shared.items() for line in _troubles(key, ours[key], found, other, left_out)),
        *in_blocks("Not in the paper's tables", [key for key in ours if key not in theirs]),
        *in_blocks("Only in the paper's tables", [key for key in theirs if key not in ours and key[2] in orders]),
        *(f"Only in the paper's tables: the order {order}" for order in _orders(theirs) if order not in orders),
    )
    return Comparison(paper, tolerance, "order", board.setting, board.covered, numbers, remarks)


def _published(paper: SequencePaper) -> dict[MatchKey, PublishedRow]:
    """Return the paper's rows by key, after checking their columns."""
    rows = compared_rows(paper)
    if not rows:
        raise PluginError(f"{paper.file} has no row of the tables {listed(paper.tables)}. Correct the paper's tables.")
    for row in rows:
        if odd := [column for column in row.scores if column not in (*tasks_in(row.target), *SEQUENCE_COLUMNS)]:
            raise PluginError(
                f"{paper.file} has {listed(odd)} for {row.method} on {row.target}, which is neither a task of this "
                f"order nor one of {listed(SEQUENCE_COLUMNS)}. Rename the column, or leave it out."
            )
    return {(*row.place, row.connector, row.variant): row for row in rows}


def _orders(theirs: Mapping[MatchKey, PublishedRow]) -> list[str]:
    return list(dict.fromkeys(key[2] for key in theirs))


def _check_orders(paper: SequencePaper, board: SequenceBoard, theirs: Mapping[MatchKey, PublishedRow]) -> None:
    published, ours = _orders(theirs), [order_name(order) for order in board.orders]
    if not set(published) & set(ours):
        same = any(set(tasks_in(order)) == set(board.tasks) for order in published)
        why = "A score after the last stage depends on the order." if same else "These are other tasks."
        raise UsageError(
            f"The paper {paper.name} has the order {' and '.join(published)}, but this sequence has "
            f"{' and '.join(ours)}. {why} Run bench sequence --tasks {','.join(tasks_in(published[0]))}."
        )


def _compared(
    key: MatchKey, row: SequenceRow, found: Mapping[str, Estimate], other: PublishedRow
) -> Iterator[Compared]:
    """Yield every number that our row shares with a published one: tasks first, then what sums them up."""
    for column, ours in found.items():
        if column in other.scores:
            title = SEQUENCE_COLUMNS.get(column, "")
            yield Compared(other.table, key[2], row.key, key[3], column, title, ours, other.scores[column])


def _numbers_of(row: SequenceRow, order: str, left_out: Collection[str]) -> dict[str, Estimate]:
    """Return our score of each task after the last stage, and our columns that are not left out."""
    last = [stage for stage in row.stages if stage.number == len(tasks_in(order)) or row.key.rank is None]
    columns = {name: value for name, value in row.metrics.items() if name not in left_out}
    return {**(last[-1].scores if last else {}), **columns}


def _troubles(
    key: MatchKey, row: SequenceRow, found: Mapping[str, Estimate], other: PublishedRow, left_out: Collection[str]
) -> Iterator[str]:
    if row.problems:
        yield f"{row.key.label} on {key[2]}: {row.trouble}"
    for text in dict.fromkeys(row.foreign.values()):
        yield f"{row.key.label} on {key[2]}: {text}"
    lacking = [column for column in other.scores if column not in found and column not in left_out]
    if lacking:
        names = listed(SEQUENCE_COLUMNS.get(column, column) for column in lacking)
        yield f"{row.key.label} on {key[2]}: the paper also has {names}, which this sequence did not measure"


def _key(row: SequenceRow, order: tuple[str, ...]) -> MatchKey:
    """Return the key that matches a row with the paper; a reference row has no rank or connector."""
    key = row.key
    return (key.method, key.rank, order_name(order), None if key.rank is None else key.connector, key.variant)
