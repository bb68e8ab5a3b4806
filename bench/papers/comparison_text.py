"""A comparison as text: a table for the terminal, Markdown, CSV."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from bench.papers.comparison import Compared, Comparison

_WIDTH = 120
_SHOWN = ("source", "target", "avg")  # of the table: all else is in the other formats
_WORDS = ("method", "connector", "score", "verdict")  # to the left; numbers to the right
_NAMES = {"source": "Source", "target": "Target", "avg": "Avg"}

COLUMNS = (
    "paper",
    "table",
    "suite",
    "target",
    "method",
    "rank",
    "connector",
    "of",  # a source task, source, target or avg
    "value",  # ours; scores and differences are fractions, CIDEr may exceed 1
    "low",
    "high",
    "published",
    "difference",
    "difference_low",
    "difference_high",
    "verdict",
)


def table(comparison: Comparison) -> Iterator[str]:
    """Yield the lines of a table of Source, Target and Avg that fits 80 columns, and what has to stand under it."""
    yield f"beside {comparison.paper.citation}, tables {', '.join(comparison.paper.tables)}"
    shown = [number for number in comparison.numbers if number.column in _SHOWN]
    for target, of_target in groupby(shown, lambda number: number.target):
        yield f"\ntarget {target}   {comparison.board.setting}\n"
        yield from _aligned([("method", "score", "ours", "", "paper", "difference", "verdict"), *_lines(of_target)])
    yield ""
    for note in (*_notes(comparison), "Every source, and both bounds: --format markdown or csv."):
        yield textwrap.fill(note, _WIDTH, subsequent_indent="  ")


def markdown(comparison: Comparison) -> Iterator[str]:
    """Yield the lines of one Markdown table per target, with every number."""
    yield f"# {comparison.board.setting}, beside {comparison.paper.citation}"
    head = ("method", "rank", "connector", "score", "ours", "interval", "paper", "difference", "verdict")
    align = ["---" if name in _WORDS else "---:" for name in head]
    for target, of_target in groupby(comparison.numbers, lambda number: number.target):
        rows = [_cells(number) for number in of_target]
        yield f"\n## Target {target}\n"
        yield from (f"| {' | '.join(cells)} |" for cells in (head, align, *rows))
    yield ""
    yield from (f"* {_safe(note)}" for note in _notes(comparison))


def comma_separated(comparison: Comparison) -> Iterator[str]:
    """Yield the lines of a CSV with every number, its interval and its verdict."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number in comparison.numbers:
        ours, difference = number.ours, number.difference
        values = (ours.value, ours.low, ours.high, number.published, difference.value, difference.low, difference.high)
        row = number.row
        place = (number.target, row.method, row.rank, row.connector, number.column)
        origin = (comparison.paper.name, number.table, comparison.board.heading.suite)
        writer.writerow((*origin, *place, *(f"{value:.10g}" for value in values), number.verdict))
    yield from text.getvalue().splitlines()


FORMS: Mapping[str, Callable[[Comparison], Iterator[str]]] = {
    "table": table,
    "markdown": markdown,
    "csv": comma_separated,
}


def _notes(comparison: Comparison) -> Iterator[str]:
    """Yield what the numbers come to, what a verdict means, what the intervals cover, and who lacks what."""
    within = f"±{comparison.tolerance:g} points"
    yield comparison.summary
    yield (
        "Scores are x100; difference = ours - the paper's, which is held fixed, as its own noise is not known. "
        f"reproduced: all of the difference's interval lies within {within}; above, below: all of it lies beyond; "
        "cannot tell: neither. Numbers are judged one by one; Source and Avg are made of the others."
    )
    yield comparison.board.notes[1]
    yield from comparison.remarks


def _lines(numbers: Iterator[Compared]) -> Iterator[Sequence[str]]:
    """Yield the cells of each number, under a line of one cell for each rank; a row's method stands once."""
    for block, of_block in groupby(numbers, lambda number: number.row.block):
        if block[0]:
            yield (f"rank {block[0]}, connector {block[1]}",)
        previous = None
        for number in of_block:
            name = "" if number.row.method == previous else f" {number.row.method}"
            previous = number.row.method
            ours = (number.ours.percent, f"±{100 * number.ours.half_width:.1f}")
            theirs = (f"{100 * number.published:.2f}", number.difference.signed_percent)
            yield (name, _NAMES[number.column], *ours, *theirs, number.verdict)


def _aligned(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines with words to the left and numbers to the right."""
    grid = [line for line in lines if len(line) > 1]
    widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
    words = {0, 1, 3, len(widths) - 1}
    for line in lines:
        cells = [
            cell.ljust(width) if i in words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=False))
        ]
        yield (line[0] if len(line) == 1 else "  ".join(cells)).rstrip()


def _cells(number: Compared) -> Sequence[str]:
    row, ours = number.row, number.ours
    place = ("-", "-") if row.rank is None else (str(row.rank), row.connector)
    bounds = f"[{100 * ours.low:z.2f}, {100 * ours.high:z.2f}]"
    name = _NAMES.get(number.column, number.column)
    theirs = (f"{100 * number.published:.2f}", number.difference.signed_percent)
    return (row.method, *place, name, ours.percent, bounds, *theirs, number.verdict)


def _safe(text: str) -> str:
    for character in "\\`*_|<>[]":
        text = text.replace(character, f"\\{character}")
    return text
