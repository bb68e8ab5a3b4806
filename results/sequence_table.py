"""The tables of a sequence of tasks for a terminal: the metrics, the scores after each stage, and the orders."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from rich.text import Text

from .text_grid import HOLE, MARKS, Cell, Line, aligned, number, split_head, wrapped

if TYPE_CHECKING:
    from bench import SequenceBlock, SequenceBoard, SequenceRow

_Choice = TypeVar("_Choice")

# What a narrow terminal leaves out, in this order.
DROPPED = (
    *("Transfer", "Learning", "Intransigence", "± of BWT", "± of Source", "Source - lora", "s/stage", "FWT"),
    *("Forgetting", "kept", "MIF", "MAP", "APn", "± of AP", "Source lost"),
)
_WIDE = "± of scores"  # in the tables of the scores after each stage
_TITLES = {"ap": "AP", "bwt": "BWT", "source": "Source"}  # the columns over several orders


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: its name in the legend, its heading in two lines, and the cells of a row, a number and its interval.

    It is shown if the board has the metric that it ``needs``.
    """

    name: str
    head: tuple[str, str]
    cells: Callable[[SequenceRow], Sequence[Cell]]
    needs: str = "ap"


def render(board: SequenceBoard, width: int) -> Text:
    """Return the tables with the columns that fit the width."""
    dropped = _fitting(range(len(DROPPED) + 1), width, lambda count: _metrics(board, DROPPED[:count], width))
    intervals = _fitting((True, False), width, lambda shown: _matrices(board, width, intervals=shown))
    matrices = _matrices(board, width, intervals=intervals)
    text = Text()
    for block, grid, matrix in zip(board.blocks, _metrics(board, DROPPED[:dropped], width), matrices, strict=True):
        place = f"rank {block.rank}, order {', '.join(block.order)}"
        heading = wrapped([f"{place}   {board.setting}"], width)
        text.append(place if heading.startswith(place) else "", style="bold").append(heading.removeprefix(place))
        text.append_text(grid).append("\n")
        if board.spread_shown:
            text.append_text(_seed_grid(board, block, width)).append("\n")
        text.append_text(matrix).append("\n")
        text.append(wrapped([block.limits, *block.remarks], width)).append("\n")
    if board.summary:
        text.append_text(_order_grid(board, width)).append("\n")
    left_out = [name for name in DROPPED[:dropped] if _known(board, name)] + [_WIDE] * (not intervals)
    return text.append(wrapped([*_legend(board, left_out), *board.notes], width))


def _fitting(choices: Sequence[_Choice], width: int, grids: Callable[[_Choice], Sequence[Text]]) -> _Choice:
    """Return the first choice whose grids fit the width, or else the last."""
    return next((choice for choice in choices if _widest(grids(choice)) <= width), choices[-1])


def _metrics(board: SequenceBoard, dropped: Collection[str], width: int) -> list[Text]:
    return [aligned(list(_lines(board, block, dropped)), width) for block in board.blocks]


def _matrices(board: SequenceBoard, width: int, *, intervals: bool) -> list[Text]:
    return [aligned(list(_stages(block, intervals=intervals)), width) for block in board.blocks]


def _seed_grid(board: SequenceBoard, block: SequenceBlock, width: int) -> Text:
    """Return AP of every seed and its range, or the range alone if that is all that fits."""
    every, ranges = (aligned(list(_seeds(board, block, seeds)), width) for seeds in (board.seeds, ()))
    return every if _widest([every]) <= width else ranges


def _order_grid(board: SequenceBoard, width: int) -> Text:
    wide, narrow = (aligned(list(_orders(board, intervals=shown)), width) for shown in (True, False))
    return wide if _widest([wide]) <= width else narrow


def _widest(grids: Sequence[Text]) -> int:
    return max((len(line) for grid in grids for line in grid.plain.splitlines()), default=0)


def _columns(board: SequenceBoard) -> Iterator[_Column]:
    """Yield every column of the metrics, in the order in which they are shown."""
    yield _metric("AP", "ap")
    yield _difference("AP", board.baseline, "ap")
    yield _metric("APn", "apn")
    yield _metric("MAP", "map")
    yield _metric("BWT", "bwt")
    yield _metric("Forgetting", "forgetting", ("Forget-", "ting"))
    yield _metric("FWT", "fwt")
    yield _metric("Transfer", "transfer", ("Trans-", "fer"))
    yield _metric("Learning", "learning", ("Learn-", "ing"))
    yield _metric("Intransigence", "intransigence", ("Intran-", "sigence"))
    yield _metric("Source", "source")
    yield _difference("Source", board.baseline, "source")
    yield _Column("Source lost", ("Source", "lost"), _lost, "source_lost")
    yield _metric("MIF", "mif")
    yield _Column("kept", ("kept", "MB"), lambda row: [Cell(row.cost_texts[0])])
    yield _Column("s/stage", ("s per", "stage"), lambda row: [Cell(row.cost_texts[1])])


def _known(board: SequenceBoard, name: str) -> bool:
    """Whether a board has what a name of ``DROPPED`` means."""
    plain = name.removeprefix("± of ")
    return any(column.name == plain and column.needs in board.columns for column in _columns(board))


def _metric(name: str, column: str, head: tuple[str, str] | None = None) -> _Column:
    shown = ("AP", "BWT", "Source")  # with their intervals

    def cells(row: SequenceRow) -> Sequence[Cell]:
        mark = row.mark(column)
        found = number(row.metrics.get(column), MARKS[mark], "bold" if mark == "best" else "")
        return found if name in shown else found[:1]

    return _Column(name, head or ("", name), cells, column)


def _difference(name: str, baseline: str, column: str) -> _Column:
    def cells(row: SequenceRow) -> Sequence[Cell]:
        found = row.difference.get(column)
        return number(found, MARKS[row.verdict("difference", found)] if found else " ", signed=True)

    return _Column(f"{name} - {baseline}", (name, f"- {baseline}"), cells, column)


def _lost(row: SequenceRow) -> Sequence[Cell]:
    lost = row.metrics.get("source_lost")
    return [Cell(lost.percent + MARKS[row.verdict("zero_shot", lost)] if lost else f"{HOLE} ")]


def _lines(board: SequenceBoard, block: SequenceBlock, dropped: Collection[str]) -> Iterator[Line]:
    columns = [each for each in _columns(board) if each.needs in board.columns and each.name not in dropped]

    def cells(column: _Column, row: SequenceRow) -> Sequence[Cell]:
        found = column.cells(row)
        return found[:1] if f"± of {column.name}" in dropped else found

    for part in (0, 1):
        heads = [Cell("method" if part else "")]
        for column in columns:
            blank = [Cell("") for _ in cells(column, block.rows[0])[1:]]
            heads += [Cell(column.head[part]), *blank]
        yield heads
    for row in block.rows:
        if row.metrics:
            yield [Cell(f" {row.title}"), *(cell for column in columns for cell in cells(column, row))]
        else:
            yield Text(f" {row.title}  ").append(row.trouble, style="red")


def _stages(block: SequenceBlock, *, intervals: bool) -> Iterator[Line]:
    """Yield what every row scores after each of its stages; tasks that are not learnt yet are dim."""
    names = [*(split_head(task) for task in block.order), ("", "AP"), ("", "Source")]
    blank = [Cell("")] * intervals
    yield [Cell("score after"), *(cell for upper, _ in names for cell in (Cell(upper), *blank))]
    yield [Cell("each stage"), *(cell for _, lower in names for cell in (Cell(lower), *blank))]
    for row in block.rows:
        if row.stages:
            untouched = row.key.rank is None
            if not untouched:
                yield Text(f" {row.title}", style="bold")
            for stage in row.stages:
                cells = [Cell(f" {row.title}" if untouched else f"  {stage.number} {stage.task}")]
                for place, task in enumerate(block.order):
                    style = "dim" if place >= stage.number and not untouched else ""
                    cells += number(stage.scores.get(task), style=style)[: 1 + intervals]
                for value in (stage.average, stage.source):
                    cells += number(value)[: 1 + intervals]
                yield cells


def _seeds(board: SequenceBoard, block: SequenceBlock, seeds: Sequence[int]) -> Iterator[Line]:
    yield [Cell("AP"), *(Cell(f"seed {seed}") for seed in seeds), Cell("range"), Cell(f"range - {board.baseline}")]
    for row in block.rows:
        if row.key.rank is not None and "ap" in row.metrics:
            found, difference = row.metrics["ap"], row.difference.get("ap")
            values = [f"{100 * found.by_seed[seed]:.2f}" if seed in found.by_seed else HOLE for seed in seeds]
            ranges = [found.range_percent, difference.range_percent if difference else HOLE]
            yield [Cell(f" {row.title}"), *map(Cell, values + ranges)]


def _orders(board: SequenceBoard, *, intervals: bool) -> Iterator[Line]:
    """Yield a line for each row and quantity over all orders."""
    heads = ("mean", *[""] * intervals, "lowest", "highest", "spread")
    yield [Cell(f"over {len(board.orders)} orders"), Cell("", left=True), Cell("orders"), *map(Cell, heads)]
    ranks = {block.rank for block in board.blocks}
    for line in board.summary:
        name = line.key.label if len(ranks) > 1 else line.key.name
        name = f"({name})" if line.key.control else name
        for column, title in _TITLES.items():
            if column in line.columns:
                found = line.columns[column]
                levels = (found.lowest, found.highest, found.spread)
                mean = number(found.mean)[: 1 + intervals]
                cells = [Cell(f" {name}"), Cell(title, left=True), Cell(str(line.orders)), *mean]
                yield [*cells, *(Cell(f"{100 * level:z.2f}") for level in levels)]
                name = ""


def _legend(board: SequenceBoard, left_out: Sequence[str]) -> Iterator[str]:
    yield f"*  {board.best}"
    yield f"=  {board.tie}; in a difference from {board.baseline}: the interval covers 0"
    yield "±  the longer side of an interval; both bounds of every number and every seed are in the CSV and JSON files"
    if left_out:
        yield f"Left out at this width: {', '.join(left_out)}."
