"""Write our numbers next to a paper's: as a table for the terminal, as Markdown or as CSV."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from bench.text import text_table

if TYPE_CHECKING:
    from pandas import DataFrame

    from bench.leaderboard.stats import Estimate
    from bench.papers.comparison import Compared, Comparison
    from bench.papers.published import Pair

_WIDTH = 120
_WORDS = ("method", "connector", "score", "verdict")  # left-aligned; numbers are right-aligned
_NAMES = {"source": "Source", "target": "Target", "avg": "Avg"}  # in the table; the other formats have all scores

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
    """Yield a table of Source, Target and Avg that fits 80 columns, and the notes under it."""
    yield f"compared with {comparison.paper.citation}, tables {', '.join(comparison.paper.tables)}"
    shown = [number for number in comparison.numbers if number.column in _NAMES]
    for target, of_target in groupby(shown, lambda number: number.target):
        yield f"\ntarget {target}   {comparison.board.setting}\n"
        head = ("method", "score", "ours", "", "paper", "difference", "verdict")
        yield from text_table([head, *_lines(of_target)], left={0, 1, 3, 6})
    yield ""
    for note in (*_notes(comparison), "Use --format markdown or csv to see every source and both bounds."):
        yield textwrap.fill(note, _WIDTH, subsequent_indent="  ")


def markdown(comparison: Comparison) -> Iterator[str]:
    """Yield the lines of one Markdown table per target, with every number."""
    yield f"# {comparison.board.setting}, compared with {comparison.paper.citation}"
    head = ("method", "rank", "connector", "score", "ours", "interval", "paper", "difference", "verdict")
    align = ["---" if name in _WORDS else "---:" for name in head]
    for target, of_target in groupby(comparison.numbers, lambda number: number.target):
        yield f"\n## Target {target}\n"
        yield from _grid(head, align, map(_cells, of_target))
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
    """Yield the summary, the meaning of the verdicts, what the intervals cover, and the remarks."""
    within = f"±{comparison.tolerance:g} points"
    yield comparison.summary
    yield (
        "Scores are x100. difference = ours - the paper's. The paper's number is held fixed, because its noise is not "
        f"known. reproduced: the whole interval of the difference is within {within}. above, below: the whole interval "
        "is beyond. cannot tell: otherwise. Each number is judged by itself, although Source and Avg are computed from "
        "the others."
    )
    yield comparison.board.notes[1]
    yield from comparison.remarks


def _lines(numbers: Iterator[Compared]) -> Iterator[Sequence[str]]:
    """Yield the cells of each number, under a heading per rank; a row's method is written only once."""
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


def _cells(number: Compared) -> Sequence[str]:
    row, ours = number.row, number.ours
    place = ("-", "-") if row.rank is None else (str(row.rank), row.connector)
    theirs = (f"{100 * number.published:.2f}", number.difference.signed_percent)
    return (row.method, *place, *_score(number.column, ours), *theirs, number.verdict)


def _score(column: str, ours: Estimate) -> tuple[str, str, str]:
    """Return a score's name, its value and its interval."""
    return _NAMES.get(column, column), ours.percent, f"[{100 * ours.low:z.2f}, {100 * ours.high:z.2f}]"


def _grid(head: Sequence[str], align: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    return (f"| {' | '.join(cells)} |" for cells in (head, align, *rows))


def _safe(text: str) -> str:
    for character in "\\`*_|<>[]":
        text = text.replace(character, f"\\{character}")
    return text


_PAIR_HEAD = ("target", "row", "score", "ours", "interval", "paper", "difference")
_PAIR_WORDS = 3  # the number of left-aligned columns; numbers are right-aligned
_PAIR_NOTE = (
    "Scores are x100. difference = ours - the paper's. bench compare judges such differences for Tables 1 and 2."
)


def pair_lines(pairs: Sequence[Pair]) -> Iterator[str]:
    """Yield a study's Source, Target and Avg next to the paper's, for the terminal."""
    shown = [_pair_cells(pair) for pair in pairs if pair.column in _NAMES]
    yield from text_table([_PAIR_HEAD, *shown], left=range(_PAIR_WORDS))
    yield _PAIR_NOTE


def write_pairs(pairs: Sequence[Pair], folder: Path) -> list[Path]:
    """Write a study's numbers and the paper's as published.csv and published.md."""
    table, text = folder / "published.csv", folder / "published.md"
    table.write_text(pairs_frame(pairs).to_csv(index=False, lineterminator="\n"), encoding="utf-8")
    align = ["---" if i < _PAIR_WORDS else "---:" for i in range(len(_PAIR_HEAD))]
    lines = [*_grid(_PAIR_HEAD, align, map(_pair_cells, pairs)), "", _PAIR_NOTE]
    text.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [table, text]


def pairs_frame(pairs: Sequence[Pair]) -> DataFrame:
    """Return the pairs as a data frame with one number per line."""
    import pandas as pd

    return pd.DataFrame([_pair_columns(pair) for pair in pairs]).astype({"rank": "Int64"})


def _pair_columns(pair: Pair) -> dict[str, object]:
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


def _pair_cells(pair: Pair) -> tuple[str, ...]:
    theirs = (f"{100 * pair.published:.2f}", f"{100 * pair.difference:+z.2f}")
    return (pair.target, pair.row.label, *_score(pair.column, pair.ours), *theirs)
