r"""The leaderboard as LaTeX tables in the form of the papers; needs only \usepackage{booktabs}."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench import Leaderboard, Row, Table

SUFFIX = "tex"  # the report's file is leaderboard.tex

_HOLE = "--"
_END = r"\\"
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    **{character: f"\\{character}" for character in "&%$#_"},
}


def write(leaderboard: Leaderboard, path: Path) -> Path:
    """Write one file with one table per target, for use with \\input."""
    path.write_text(render(leaderboard), encoding="utf-8")
    return path


def render(leaderboard: Leaderboard) -> str:
    """Return one table per target, with methods as rows under each rank and scores as columns."""
    return "\n".join(line for table in leaderboard.tables for line in _table(leaderboard, table))


def _table(leaderboard: Leaderboard, table: Table) -> Iterator[str]:
    columns = len(leaderboard.columns) + 1
    names = [*(_safe(source) for source in leaderboard.sources), "Source", "Target", "Avg"]
    yield r"\begin{table*}[t]"
    yield r"\centering"
    yield rf"\caption{{{_caption(leaderboard, table)}}}"
    yield rf"\label{{tab:{table.target.replace('_', '-')}}}"
    yield rf"\begin{{tabular}}{{l{'c' * len(leaderboard.sources)}|c|c|c}}"
    yield r"\toprule"
    yield f"Method & {' & '.join(names)} {_END}"
    for block in table.blocks():
        yield r"\midrule"
        if block[0].rank is not None:
            connector = f", connector {_safe(block[0].connector)}" if len(leaderboard.connectors) > 1 else ""
            yield rf"\multicolumn{{{columns}}}{{l}}{{\textit{{Rank {block[0].rank}{connector}}}}} {_END}"
        for row in block:
            name = _safe((f"({row.name})" if row.control else row.name) + row.sign)
            yield f"{name} & {_cells(leaderboard, row)} {_END}"
    yield r"\bottomrule"
    yield r"\end{tabular}"
    yield r"\end{table*}"
    yield ""


def _cells(leaderboard: Leaderboard, row: Row) -> str:
    if not row.scores:
        return rf"\multicolumn{{{len(leaderboard.columns)}}}{{l}}{{{_safe(row.trouble)}}}"
    return " & ".join(_score(row, column) for column in leaderboard.columns)


def _score(row: Row, column: str) -> str:
    if column not in row.scores:
        return _HOLE
    text, mark = row.scores[column].percent, row.mark(column)
    if mark == "best":
        return rf"\textbf{{{text}}}"
    return f"{text}$^{{=}}$" if mark == "tied" else text


def _caption(leaderboard: Leaderboard, table: Table) -> str:
    sentences = [
        f"Fine-tuned on {table.target}: {leaderboard.setting}.",
        "Bold: the highest number of its rank.",
    ]
    marks = r"$^{=}$: cannot be told apart from the highest, because the paired interval covers 0."
    holes = [f"{remark}." for remark in table.remarks]
    text = [
        *map(_safe, sentences),
        marks,
        *map(_safe, leaderboard.notes),
        _safe(leaderboard.resolution(table)),
    ]
    return " ".join([*text, *map(_safe, holes)])


def _safe(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)
