"""Write our numbers next to a paper's: as a table for the terminal, as Markdown or as CSV."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from bench.text import csv_text, text_table

if TYPE_CHECKING:
    from pandas import DataFrame

    from bench.papers.comparison import Compared, Comparison

_WIDTH = 120
_WORDS = ("target", "row", "method", "connector", "score", "verdict")  # left-aligned; numbers are right-aligned

_STUDY_HEAD = ("target", "row", "score", "ours", "interval", "paper", "difference")
_STUDY_NOTE = (
    "Scores are x100. difference = ours - the paper's. bench compare judges such differences for Tables 1 and 2."
)


def table(comparison: Comparison) -> Iterator[str]:
    """Yield a table of the summarising scores that fits 80 columns, and the notes under it."""
    yield f"compared with {comparison.paper.citation}, tables {', '.join(comparison.paper.tables)}"
    shown = [number for number in comparison.numbers if number.title] or comparison.numbers
    for place, of_place in groupby(shown, lambda number: number.place):
        yield f"\n{comparison.grouped_by} {place}   {comparison.setting}\n"
        head = ("method", "score", "ours", "", "paper", "difference", "verdict")
        yield from text_table([head, *_lines(comparison, of_place)], left={0, 1, 3, 6})
    yield ""
    for note in (*_notes(comparison), "Use --format markdown or csv to see every score and both bounds."):
        yield textwrap.fill(note, _WIDTH, subsequent_indent="  ")


def markdown(comparison: Comparison) -> Iterator[str]:
    """Yield the lines of one Markdown table per target or order, with every number."""
    yield f"# {comparison.setting}, compared with {comparison.paper.citation}"
    head = ("method", "rank", "connector", "score", "ours", "interval", "paper", "difference", "verdict")
    for place, of_place in groupby(comparison.numbers, lambda number: number.place):
        yield f"\n## {comparison.grouped_by.capitalize()} {place}\n"
        yield from _grid(
            head, ((*_row_cells(number), *_score(number), comparison.verdict(number)) for number in of_place)
        )
    yield ""
    yield from (f"* {_safe(note)}" for note in _notes(comparison))


def comma_separated(comparison: Comparison) -> Iterator[str]:
    """Yield the lines of a CSV with every number, its interval and its verdict."""
    frame = _frame(comparison.numbers).rename(columns={"target": comparison.grouped_by})
    if comparison.grouped_by == "target":
        del frame["variant"]  # only methods' own rows are compared
    frame.insert(0, "paper", comparison.paper.name)
    frame.insert(2, "suite", comparison.paper.suite)
    frame["connector"] = [number.key.connector for number in comparison.numbers]
    frame["verdict"] = [comparison.verdict(number) for number in comparison.numbers]
    yield from csv_text(frame, "%.10g").splitlines()


FORMS: Mapping[str, Callable[[Comparison], Iterator[str]]] = {
    "table": table,
    "markdown": markdown,
    "csv": comma_separated,
}


def study_lines(numbers: Sequence[Compared]) -> Iterator[str]:
    """Yield a study's Source, Target and Avg next to the paper's, for the terminal."""
    shown = [_study_cells(number) for number in numbers if number.title]
    yield from text_table([_STUDY_HEAD, *shown], left={0, 1, 2})
    yield _STUDY_NOTE


def write_study(numbers: Sequence[Compared], folder: Path) -> list[Path]:
    """Write a study's numbers and the paper's as published.csv and published.md."""
    table, text = folder / "published.csv", folder / "published.md"
    shown = _frame(numbers).loc[:, :"difference"]
    table.write_text(csv_text(shown), encoding="utf-8")
    lines = [*_grid(_STUDY_HEAD, map(_study_cells, numbers)), "", _STUDY_NOTE]
    text.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [table, text]


def _frame(numbers: Iterable[Compared]) -> DataFrame:
    """Return a line per number, with scores and differences as fractions."""
    import pandas as pd

    from bench.leaderboard.stats import bounded

    lines = [
        {
            "table": number.table,
            "target": number.place,
            "method": number.key.method,
            "variant": number.key.variant,
            "rank": number.key.rank,
            "connector": number.connector,
            "of": number.column,  # a task, or a score that sums up others, such as avg
            "value": number.ours.value,  # a fraction; CIDEr may exceed 1
            "low": number.ours.low,
            "high": number.ours.high,
            "published": round(number.published, 8),
            **bounded("difference", number.difference),
        }
        for number in numbers
    ]
    return pd.DataFrame(lines).astype({"rank": "Int64"})


def _notes(comparison: Comparison) -> Iterator[str]:
    """Yield the summary, the meaning of the verdicts, what the intervals cover, and the remarks."""
    within = f"±{comparison.tolerance:g} points"
    yield comparison.summary
    yield (
        "Scores are x100. difference = ours - the paper's. The paper's number is held fixed, because its noise is not "
        f"known. reproduced: the whole interval of the difference is within {within}. above, below: the whole interval "
        "is beyond. cannot tell: otherwise. Each number is judged by itself, although some, such as Avg or AP, are "
        "computed from the others."
    )
    yield comparison.covered
    yield from comparison.remarks


def _lines(comparison: Comparison, numbers: Iterator[Compared]) -> Iterator[Sequence[str]]:
    """Yield the cells of each number, under a heading per rank; a row's method is written only once."""
    for block, of_block in groupby(numbers, lambda number: number.key.block):
        if block[0]:
            yield (f"rank {block[0]}, connector {block[1]}",)
        previous = None
        for number in of_block:
            name = "" if number.key.name == previous else f" {number.key.name}"
            previous = number.key.name
            score, ours, _, *theirs = _score(number)
            yield (name, score, ours, f"±{100 * number.ours.half_width:.2f}", *theirs, comparison.verdict(number))


def _row_cells(number: Compared) -> tuple[str, str, str]:
    """Return the method, the rank and the connector of a number's row."""
    key = number.key
    return (key.name, "-", "-") if key.rank is None else (key.name, str(key.rank), key.connector)


def _study_cells(number: Compared) -> Sequence[str]:
    return (number.place, number.key.label, *_score(number))


def _score(number: Compared) -> tuple[str, ...]:
    """Return a score's name, our value and its interval, the paper's value, and the difference."""
    ours, name = number.ours, number.title or number.column
    interval = f"[{100 * ours.low:z.2f}, {100 * ours.high:z.2f}]"
    return (name, ours.percent, interval, f"{100 * number.published:.2f}", number.difference.signed_percent)


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    align = ["---" if name in _WORDS else "---:" for name in head]
    return (f"| {' | '.join(cells)} |" for cells in (head, align, *rows))


def _safe(text: str) -> str:
    for character in "\\`*_|<>[]":
        text = text.replace(character, f"\\{character}")
    return text
