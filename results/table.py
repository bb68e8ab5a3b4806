"""The leaderboard for a terminal: one block per target, marks that need no colour, and a legend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.text import Text

from . import sequence_table
from .text_grid import HOLE, MARKS, Cell, Line, aligned, number, split_head, wrapped

if TYPE_CHECKING:
    from bench import Estimate, Leaderboard, Row, SequenceBoard, Table

SUFFIX = "txt"  # the report's file is leaderboard.txt


@dataclass(frozen=True, slots=True)
class _Detail:
    """The parts of a table that fit a width. They are left out in this order, so forgetting stays longest."""

    costs: bool = True
    sources: bool = True
    tries: bool = True
    halves: bool = True
    intervals: bool = True
    forgetting: bool = True


_PARTS = {
    "costs": "costs",
    "sources": "the score of each source",
    "tries": "tries and not above",
    "halves": "the intervals of Source and Target",
    "intervals": "the interval of Avg",
    "forgetting": "forgetting",
}
_DETAILS = tuple(_Detail(*(place >= left_out for place in range(len(_PARTS)))) for left_out in range(len(_PARTS) + 1))


def write(leaderboard: Leaderboard, path: Path) -> Path:
    """Write the table as plain text, 120 columns wide."""
    path.write_text(render(leaderboard, 120).plain, encoding="utf-8")
    return path


def render(leaderboard: Leaderboard, width: int = 100) -> Text:
    """Return the tables with the details that fit the width; print the text without wrapping it."""
    for detail in _DETAILS:
        grids = [aligned(list(_lines(leaderboard, table, detail)), width) for table in leaderboard.tables]
        if max((len(line) for grid in grids for line in grid.plain.splitlines()), default=0) <= width:
            break
    text = Text()
    for table, grid in zip(leaderboard.tables, grids, strict=True):
        target = f"target {table.target}"
        heading = wrapped([f"{target}   {leaderboard.setting}"], width)
        text.append(target, style="bold").append(f"{heading.removeprefix(target)}\n")
        text.append_text(grid).append("\n")
        if leaderboard.spread_shown:
            text.append_text(aligned(list(_seed_lines(leaderboard, table)), width)).append("\n")
        if any(row.gain and not row.control for row in table.rows):
            text.append_text(aligned(list(_gain_lines(table)), width)).append("\n")
        text.append(wrapped([leaderboard.resolution(table), *table.remarks], width)).append("\n")
    return text.append(wrapped([*_legend(leaderboard, detail), *leaderboard.notes], width))


def write_sequences(board: SequenceBoard, path: Path) -> Path:
    """Write the tables of a sequence of tasks as plain text, 120 columns wide."""
    path.write_text(render_sequences(board, 120).plain, encoding="utf-8")
    return path


def render_sequences(board: SequenceBoard, width: int = 100) -> Text:
    """Return the tables of a sequence of tasks with the details that fit the width."""
    return sequence_table.render(board, width)


def _legend(leaderboard: Leaderboard, detail: _Detail) -> Iterator[str]:
    yield "*  the highest number of its rank"
    baseline = leaderboard.baseline
    yield f"=  {leaderboard.tie}; in Avg - {baseline}: the interval covers 0"
    yield "±  the longer side of an interval; both bounds, lenient scores and every seed are in the CSV"
    left_out = [text for name, text in _PARTS.items() if not getattr(detail, name) and _has(leaderboard, name)]
    if left_out:
        yield f"Left out at this width: {', '.join(left_out)}."


def _has(leaderboard: Leaderboard, part: str) -> bool:
    """Whether a leaderboard has a part of the table at any width."""
    if part == "tries":
        return leaderboard.tuned or leaderboard.controlled
    return bool(leaderboard.sources) if part in ("sources", "forgetting") else True


def _wide(column: str, detail: _Detail) -> bool:
    """Whether a column has its interval next to it."""
    return detail.intervals if column == "avg" else detail.halves and column in ("source", "target")


def _lines(leaderboard: Leaderboard, table: Table, detail: _Detail) -> Iterator[Line]:
    tuned, controlled = (found and detail.tries for found in (leaderboard.tuned, leaderboard.controlled))
    heads = [("", "tries")] if tuned else []
    heads += [split_head(source) for source in leaderboard.sources if detail.sources]
    for name in ("Source", "Target", "Avg"):
        heads += [("", name), ("", "")] if _wide(name.lower(), detail) else [("", name)]
    heads += [("Source", "lost")] if detail.forgetting else []
    heads += [("Avg", f"- {leaderboard.baseline}"), ("", "")]
    heads += [("not", "above")] if controlled else []
    heads += [("train", "s"), ("peak", "GB"), ("", "params")] if detail.costs else []
    yield [Cell(""), *(Cell(upper) for upper, _ in heads)]
    yield [Cell("method"), *(Cell(lower) for _, lower in heads)]
    columns = leaderboard.columns if detail.sources else ("source", "target", "avg")
    for block in table.blocks():
        if block[0].rank is not None:
            connector = f", connector {block[0].connector}" if len(leaderboard.connectors) > 1 else ""
            yield Text(f"rank {block[0].rank}{connector}", style="bold")
        for row in block:
            yield _cells(row, columns, detail, tuned=tuned, controlled=controlled) if row.scores else _failure(row)


def _cells(row: Row, columns: Sequence[str], detail: _Detail, *, tuned: bool, controlled: bool) -> Line:
    cells = [Cell(f" ({row.name}){row.sign}" if row.control else f" {row.name}{row.sign}")]
    cells += [Cell(str(row.tries) if row.tries > 1 else HOLE)] if tuned else []
    for column in columns:
        mark = row.mark(column)
        found = number(row.scores.get(column), MARKS[mark], "bold" if mark == "best" else "")
        cells += found if _wide(column, detail) else found[:1]
    if detail.forgetting:
        lost = row.forgetting.get("source")
        cells.append(Cell(_lost(row, lost) if lost else HOLE))
    cells += _difference(row, "difference", "avg")
    cells += [Cell(_unbeaten(row))] if controlled else []
    return [*cells, *(Cell(text) for text in row.cost_texts)] if detail.costs else cells


def _unbeaten(row: Row) -> str:
    """Return how many controls the row is not above; a remark below the table names these controls."""
    return str(len(row.unbeaten)) if row.unbeaten else ""


def _lost(row: Row, lost: Estimate) -> str:
    return lost.percent + MARKS[row.verdict("forgetting", lost)].rstrip()


def _difference(row: Row, quantity: Literal["difference", "gain"], column: str) -> list[Cell]:
    found = (row.difference if quantity == "difference" else row.gain).get(column)
    if found is None:
        return number(None)
    verdict = row.verdict(quantity, found)
    color = "" if verdict else "green" if found.value > 0 else "red"
    return number(found, MARKS[verdict], color, signed=True)


def _failure(row: Row) -> Text:
    name = f"({row.name})" if row.control else row.name
    return Text(f" {name}{row.sign}  ").append(row.trouble, style="red")


def _seed_lines(leaderboard: Leaderboard, table: Table) -> Iterator[Line]:
    seeds = [f"seed {seed}" for seed in leaderboard.seeds]
    yield [
        Cell("Avg"),
        *map(Cell, seeds),
        Cell("range"),
        Cell(f"range of Avg minus {leaderboard.baseline}"),
    ]
    for row in table.rows:
        if row.ranked and "avg" in row.scores:
            avg, difference = row.scores["avg"], row.difference.get("avg")
            values = [f"{100 * avg.by_seed[seed]:.2f}" if seed in avg.by_seed else HOLE for seed in leaderboard.seeds]
            ranges = [avg.range_percent, difference.range_percent if difference else HOLE]
            yield [Cell(f" {row.label}"), *map(Cell, values + ranges)]


def _gain_lines(table: Table) -> Iterator[Line]:
    """Yield a line per variant with its paired differences from the method's own row."""
    yield [
        Cell("against its own row"),
        Cell("Source"),
        Cell(""),
        Cell("Target"),
        Cell(""),
        Cell("Avg"),
        Cell(""),
    ]
    for row in table.rows:
        if row.gain and not row.control:
            numbers = [_difference(row, "gain", column) for column in ("source", "target", "avg")]
            yield [Cell(f" {row.label}"), *(cell for number in numbers for cell in number)]
