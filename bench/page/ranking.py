"""Turn a leaderboard into the values that the page's templates draw: tables, bars, marks and what was kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.leaderboard import notes
from bench.leaderboard.stats import Estimate
from bench.leaderboard.tables import Leaderboard, Quantity, Row, Table
from bench.page.rows import PageRows

MARKS = {"best": "*", "tied": "=", "foreign": notes.FOREIGN, "": ""}
SAYS = {"foreign": "a different environment: not judged"}  # what * and = mean is said above each table


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: ``name`` for scripts, and ``group`` for the switches that hide columns.

    A column of ``text`` has words instead of numbers.
    """

    name: str
    title: str
    group: str
    says: str = ""
    text: bool = False


@dataclass(frozen=True, slots=True)
class TableCell:
    """A number as a table shows it. ``start``, ``width`` and ``point`` place its interval's bar, in percent."""

    text: str
    value: float | None = None
    half: str = ""
    mark: str = ""
    says: str = ""
    start: float | None = None
    width: float = 0.0
    point: float = 0.0
    tone: str = ""


@dataclass(frozen=True, slots=True)
class TableLine:
    """A row of a table. ``place`` is its number in the ranking, or nothing for a control or a reference."""

    id: str
    name: str
    place: str
    control: bool
    cells: tuple[TableCell, ...]
    trouble: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableBlock:
    """The lines of one rank."""

    title: str
    lines: tuple[TableLine, ...]


@dataclass(frozen=True, slots=True)
class TargetTable:
    """The table of a target, and the sentences below it."""

    target: str
    columns: tuple[Column, ...]
    blocks: tuple[TableBlock, ...]
    sentences: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    kept: tuple[TableBlock, ...] = ()
    tuned: tuple[TableBlock, ...] = field(default=())


def tables(board: Leaderboard, rows: PageRows) -> list[TargetTable]:
    """Return the table of every target."""
    return [_table(board, table, rows) for table in board.tables]


def _table(board: Leaderboard, table: Table, rows: PageRows) -> TargetTable:
    columns = tuple(_columns(board))
    scales = {column.name: scale(_estimate(row, column.name) for row in table.rows) for column in columns}
    return TargetTable(
        table.target,
        columns,
        tuple(_blocks(board, table, lambda row, place: _line(board, row, place, columns, scales, rows))),
        (board.resolution(table), *table.remarks),
        board.sources,
        tuple(_blocks(board, table, lambda row, place: _kept(board, row, rows))),
        tuple(_tuned(board, table, rows)),
    )


def _columns(board: Leaderboard) -> Iterator[Column]:
    if board.tuned:
        yield Column("tries", "tries", "details", "configurations tried on validation to choose the row")
    for source in board.sources:
        yield Column(source, source.replace("_", " "), "sources", "score of a source after the training")
    yield Column("source", "Source", "means", "mean of the sources")
    yield Column("target", "Target", "means", "score of the task that was learnt")
    yield Column("avg", "Avg", "means", "(Source + Target) / 2")
    yield Column("lost", "Source lost", "means", "forgetting: zero-shot Source minus Source")
    yield Column("gap", f"Avg - {board.baseline}", "means", f"paired difference from {board.baseline} of the same rank")
    if board.controlled:
        yield Column("beaten", "not above", "details", "controls that the row's Avg is not shown to exceed")
    yield Column("seconds", "train s", "costs", "seconds of training")
    yield Column("memory", "peak GB", "costs", "peak memory")
    yield Column("parameters", "params", "costs", "trainable parameters")
    yield Column("size", "change MB", "costs", "size of the change on disk")


def _estimate(row: Row, column: str) -> Estimate | None:
    if column == "lost":
        return row.forgetting.get("source")
    return row.difference.get("avg") if column == "gap" else row.scores.get(column)


def scale(estimates: Iterable[Estimate | None]) -> tuple[float, float]:
    """Return the lowest and the highest bound of a column."""
    known = [item for item in estimates if item is not None]
    low, high = min((item.low for item in known), default=0.0), max((item.high for item in known), default=1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _blocks(board: Leaderboard, table: Table, line: Callable[[Row, str], TableLine | None]) -> Iterator[TableBlock]:
    for block in table.blocks():
        found = [made for row in block if (made := line(row, _place(row, block))) is not None]
        if found:
            yield TableBlock(_title(board, block[0]), tuple(found))


def _place(row: Row, block: Sequence[Row]) -> str:
    """Return a row's place by Avg among the rows that compete, whatever they are sorted by, or nothing."""
    rivals = [other for other in block if other.ranked and "avg" in other.scores and not other.given]
    rivals = [other for other in rivals if not other.refuses("rank")]
    if row not in rivals:
        return ""
    return str(1 + sum(other.scores["avg"].value > row.scores["avg"].value for other in rivals))


def _title(board: Leaderboard, row: Row) -> str:
    if row.rank is None:
        return "before training"
    return f"rank {row.rank}" + (f", connector {row.connector}" if len(board.connectors) > 1 else "")


def _line(
    board: Leaderboard,
    row: Row,
    place: str,
    columns: Sequence[Column],
    scales: Mapping[str, tuple[float, float]],
    rows: PageRows,
) -> TableLine:
    cells = tuple(_cell(board, row, column.name, scales[column.name]) for column in columns) if row.scores else ()
    name = f"({row.name})" if row.control else row.name
    more = (*row.notes, *([f"not above {', '.join(row.unbeaten)}"] if row.unbeaten else []))
    return TableLine(rows.id(row.key), f"{name}{row.sign}", place, row.control, cells, row.trouble, more)


def _cell(board: Leaderboard, row: Row, column: str, bounds: tuple[float, float]) -> TableCell:
    if column == "tries":
        return TableCell(str(row.tries) if row.tries > 1 else "-", row.tries)
    if column == "beaten":
        return TableCell(str(len(row.unbeaten)) if row.unbeaten else "", len(row.unbeaten))
    if column in ("seconds", "memory", "parameters", "size"):
        return _cost(row, column)
    estimate = _estimate(row, column)
    if estimate is None:
        return TableCell("-")
    if column in ("lost", "gap"):
        quantity: Quantity = "forgetting" if column == "lost" else "difference"
        found = row.verdict(quantity, estimate)
        tone = "" if found or quantity == "forgetting" else "up" if estimate.value > 0 else "down"
        return number(estimate, bounds, found, tone=tone, signed=column == "gap")
    return number(estimate, None if column in board.sources else bounds, row.mark(column))


def _cost(row: Row, column: str) -> TableCell:
    cost = row.cost
    if cost is None:
        return TableCell("-")
    if column == "size":
        return TableCell(f"{cost.change_bytes / 1e6:.1f}" if cost.change_bytes else "-", cost.change_bytes)
    place = ("seconds", "memory", "parameters").index(column)
    value = (cost.train_seconds, cost.peak_memory_bytes, cost.trainable_parameters)[place]
    return TableCell(row.cost_texts[place], value)


def number(
    estimate: Estimate,
    bounds: tuple[float, float] | None = None,
    verdict: str = "",
    *,
    tone: str = "",
    signed: bool = False,
) -> TableCell:
    """Return an estimate as a cell, whose title has the interval; a switch of the page shows it in the cell.

    The cell shows the interval too if it has the ``bounds`` of its column. ``verdict`` is how the number is marked.
    """
    text = estimate.signed_percent if signed else estimate.percent
    interval = f"95 % interval {100 * estimate.low:.2f} to {100 * estimate.high:.2f}"
    says = "; ".join(part for part in (SAYS.get(verdict, ""), interval) if part)
    if len(estimate.by_seed) > 1:
        each = ", ".join(f"{100 * value:.2f} (seed {seed})" for seed, value in estimate.by_seed.items())
        says = f"{says}; {each}"
    if bounds is None:
        return TableCell(text, estimate.value, "", MARKS[verdict], says, tone=tone)
    low, high = bounds
    start, end, point = (100 * (value - low) / (high - low) for value in (estimate.low, estimate.high, estimate.value))
    half = f"±{100 * estimate.half_width:.2f}"
    return TableCell(text, estimate.value, half, MARKS[verdict], says, start, end - start, point, tone)


def _kept(board: Leaderboard, row: Row, rows: PageRows) -> TableLine | None:
    """Return how each source's score changed against the base model, or None for a row without such numbers."""
    if row.rank is None or not row.forgetting:
        return None
    cells = []
    for source in board.sources:
        lost = row.forgetting.get(source)
        if lost is None:
            cells.append(TableCell("-"))
            continue
        change = Estimate(-lost.value, -lost.high, -lost.low, {seed: -value for seed, value in lost.by_seed.items()})
        strength = 0.0 if change.covers_zero else min(1.0, abs(change.value) / 0.5)
        cells.append(
            TableCell(
                change.signed_percent,
                change.value,
                says=number(change).says,
                mark=MARKS["tied"] if change.covers_zero else "",
                tone="up" if change.value > 0 else "down",
                width=round(strength, 3),
            )
        )
    name = f"({row.name})" if row.control else row.name
    return TableLine(rows.id(row.key), name, "", row.control, tuple(cells))


def _tuned(board: Leaderboard, table: Table, rows: PageRows) -> Iterator[TableBlock]:
    """Yield each rank's variants next to the method's own row: both numbers and the paired gain."""
    for block in table.blocks():
        own = {row.method: row for row in block if not row.variant}
        lines = []
        for row in block:
            if not row.gain or row.control or row.method not in own:
                continue
            cells = []
            for column in ("source", "target", "avg"):
                gain, before, after = (part.get(column) for part in (row.gain, own[row.method].scores, row.scores))
                cells += [number(before) if before else TableCell("-"), number(after) if after else TableCell("-")]
                found = row.verdict("gain", gain) if gain else ""
                tone = "" if gain is None or found else "up" if gain.value > 0 else "down"
                half = f"±{100 * gain.half_width:.2f}" if gain else ""
                text = gain.signed_percent if gain else "-"
                cells.append(
                    TableCell(text, gain.value if gain else None, half, MARKS[found], SAYS.get(found, ""), tone=tone)
                )
            lines.append(TableLine(rows.id(row.key), row.name, "", False, tuple(cells), notes=row.notes))
        if lines:
            yield TableBlock(_title(board, block[0]), tuple(lines))
