"""The leaderboard for a terminal: one block per target, marks that need no colour, and a legend."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.text import Text

if TYPE_CHECKING:
    from bench import Estimate, Leaderboard, Row, Table

SUFFIX = "txt"  # the report's file is leaderboard.txt

_MARKS = {"best": "*", "tied": "=", "foreign": "†", "": " "}
_HOLE = "-"


@dataclass(frozen=True, slots=True)
class _Cell:
    text: str
    style: str = ""
    left: bool = False


@dataclass(frozen=True, slots=True)
class _Detail:
    """The parts of a table that fit a width."""

    costs: bool = True
    intervals: bool = True
    forgetting: bool = True


Line = Sequence[_Cell] | Text  # a line of the grid, or a text that spans all columns

_DETAILS = (_Detail(), _Detail(costs=False), _Detail(False, False), _Detail(False, False, False))


def write(leaderboard: Leaderboard, path: Path) -> Path:
    """Write the table as plain text, 120 columns wide."""
    path.write_text(render(leaderboard, 120).plain, encoding="utf-8")
    return path


def render(leaderboard: Leaderboard, width: int = 100) -> Text:
    """Return the tables with the details that fit the width; print the text without wrapping it."""
    for detail in _DETAILS:
        grids = [_aligned(list(_lines(leaderboard, table, detail)), width) for table in leaderboard.tables]
        if max((len(line) for grid in grids for line in grid.plain.splitlines()), default=0) <= width:
            break
    text = Text()
    for table, grid in zip(leaderboard.tables, grids, strict=True):
        target = f"target {table.target}"
        heading = _wrapped([f"{target}   {leaderboard.setting}"], width)
        text.append(target, style="bold").append(f"{heading.removeprefix(target)}\n")
        text.append_text(grid).append("\n")
        if leaderboard.spread_shown:
            text.append_text(_aligned(list(_seed_lines(leaderboard, table)), width)).append("\n")
        if any(row.gain for row in table.rows):
            text.append_text(_aligned(list(_gain_lines(table)), width)).append("\n")
        text.append(_wrapped([leaderboard.resolution(table), *table.remarks], width)).append("\n")
    return text.append(_wrapped([*_legend(leaderboard, detail), *leaderboard.notes], width))


def _legend(leaderboard: Leaderboard, detail: _Detail) -> Iterator[str]:
    yield "*  the highest number of its rank"
    baseline = leaderboard.baseline
    yield f"=  {leaderboard.tie}; in Avg - {baseline}: the interval covers 0"
    yield "±  the longer side of an interval; both bounds, lenient scores and every seed are in the CSV"
    left_out = [
        name
        for name, shown in (
            ("costs", detail.costs),
            ("intervals of the scores", detail.intervals),
            ("forgetting", detail.forgetting),
        )
        if not shown
    ]
    if left_out:
        yield f"Left out at this width: {', '.join(left_out)}."


def _lines(leaderboard: Leaderboard, table: Table, detail: _Detail) -> Iterator[Line]:
    heads = [("", "tries")] if leaderboard.tuned else []
    heads += [_head(source) for source in leaderboard.sources]
    for name in ("Source", "Target", "Avg"):
        heads += [("", name), ("", "")] if detail.intervals else [("", name)]
    heads += [("Source", "lost")] if detail.forgetting else []
    heads += [("Avg", f"- {leaderboard.baseline}"), ("", "")]
    heads += [("not", "above")] if leaderboard.controlled else []
    heads += [("train", "s"), ("peak", "GB"), ("", "params")] if detail.costs else []
    yield [_Cell(""), *(_Cell(upper) for upper, _ in heads)]
    yield [_Cell("method"), *(_Cell(lower) for _, lower in heads)]
    for block in table.blocks():
        if block[0].rank is not None:
            connector = f", connector {block[0].connector}" if len(leaderboard.connectors) > 1 else ""
            yield Text(f"rank {block[0].rank}{connector}", style="bold")
        for row in block:
            yield _cells(leaderboard, row, detail) if row.scores else _failure(row)


def _head(source: str) -> tuple[str, str]:
    """Split a name into two lines at its first underscore, so that its column stays narrow."""
    upper, _, lower = source.partition("_")
    return (upper, lower) if lower else ("", upper)


def _cells(leaderboard: Leaderboard, row: Row, detail: _Detail) -> Line:
    cells = [_Cell(f" ({row.name}){row.sign}" if row.control else f" {row.name}{row.sign}")]
    cells += [_Cell(str(row.tries) if row.tries > 1 else _HOLE)] if leaderboard.tuned else []
    for column in leaderboard.columns:
        mark = row.mark(column)
        number = _number(row.scores.get(column), _MARKS[mark], "bold" if mark == "best" else "")
        wide = detail.intervals and column not in leaderboard.sources
        cells += number if wide else number[:1]
    if detail.forgetting:
        lost = row.forgetting.get("source")
        cells.append(_Cell(_lost(row, lost) if lost else _HOLE))
    cells += _difference(row, "difference", "avg")
    cells += [_Cell(_unbeaten(row))] if leaderboard.controlled else []
    return [*cells, *(_Cell(text) for text in row.cost_texts)] if detail.costs else cells


def _unbeaten(row: Row) -> str:
    """Return how many controls the row is not above; a remark below the table names these controls."""
    return str(len(row.unbeaten)) if row.unbeaten else ""


def _lost(row: Row, lost: Estimate) -> str:
    return lost.percent + _MARKS[row.verdict("forgetting", lost)].rstrip()


def _difference(row: Row, quantity: Literal["difference", "gain"], column: str) -> list[_Cell]:
    found = (row.difference if quantity == "difference" else row.gain).get(column)
    return _number(found, _MARKS[row.verdict(quantity, found)] if found else " ", "", signed=True)


def _number(estimate: Estimate | None, mark: str, style: str, *, signed: bool = False) -> list[_Cell]:
    if estimate is None:
        return [_Cell(f"{_HOLE} "), _Cell("")]
    text = estimate.signed_percent if signed else estimate.percent
    digits = 2 if signed else 1  # a difference is a tie if its ± exceeds it, so both need the same digits
    return [_Cell(text + mark, style), _Cell(f"±{100 * estimate.half_width:.{digits}f}", left=True)]


def _failure(row: Row) -> Text:
    return Text(f" {row.name}{row.sign}  ").append(row.trouble, style="red")


def _seed_lines(leaderboard: Leaderboard, table: Table) -> Iterator[Line]:
    seeds = [f"seed {seed}" for seed in leaderboard.seeds]
    yield [
        _Cell("Avg"),
        *map(_Cell, seeds),
        _Cell("range"),
        _Cell(f"range of Avg minus {leaderboard.baseline}"),
    ]
    for row in table.rows:
        if row.ranked and "avg" in row.scores:
            avg, difference = row.scores["avg"], row.difference.get("avg")
            values = [f"{100 * avg.by_seed[seed]:.2f}" if seed in avg.by_seed else _HOLE for seed in leaderboard.seeds]
            ranges = [avg.range_percent, difference.range_percent if difference else _HOLE]
            yield [_Cell(f" {row.label}"), *map(_Cell, values + ranges)]


def _gain_lines(table: Table) -> Iterator[Line]:
    """Yield a line per variant with its paired differences from the method's own row."""
    yield [
        _Cell("against its own row"),
        _Cell("Source"),
        _Cell(""),
        _Cell("Target"),
        _Cell(""),
        _Cell("Avg"),
        _Cell(""),
    ]
    for row in table.rows:
        if row.gain and not row.control:
            numbers = [_difference(row, "gain", column) for column in ("source", "target", "avg")]
            yield [_Cell(f" {row.label}"), *(cell for number in numbers for cell in number)]


def _aligned(lines: Sequence[Line], width: int) -> Text:
    """Align the first column and every ``left`` cell to the left, and all other cells to the right."""
    grid = [line for line in lines if not isinstance(line, Text)]
    widths = [max(len(line[i].text) for line in grid) for i in range(len(grid[0]))]
    text = Text()
    for line in lines:
        if isinstance(line, Text):
            line.truncate(width, overflow="ellipsis")
            text.append_text(line)
        else:
            text.append(line[0].text.ljust(widths[0]))
            for cell, size in zip(line[1:], widths[1:], strict=True):
                padded = cell.text.ljust(size) if cell.left else cell.text.rjust(size)
                text.append(" ").append(padded, style=cell.style)
        text.rstrip()
        text.append("\n")
    return text


def _wrapped(sentences: Sequence[str], width: int) -> str:
    return "".join(textwrap.fill(sentence, width, subsequent_indent="  ") + "\n" for sentence in sentences)
