r"""The leaderboard, and a sequence of tasks, as LaTeX tables like those of papers; need only \usepackage{booktabs}."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench import Leaderboard, OrderSummary, Row, SequenceBlock, SequenceBoard, SequenceRow, Table

SUFFIX = "tex"  # the report's file is leaderboard.tex

_HOLE = "--"
_END = r"\\"
_FINISH = (r"\bottomrule", r"\end{tabular}", r"\end{table*}", "")
_TIED = r"$^{=}$: cannot be told apart from the highest, because the paired interval covers 0."
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


def write_sequences(board: SequenceBoard, path: Path) -> Path:
    """Write one file with a table per order and rank, and a table over all orders if there are several."""
    path.write_text(render_sequences(board), encoding="utf-8")
    return path


def render_sequences(board: SequenceBoard) -> str:
    """Return the tables of a sequence of tasks: methods as rows, and metrics as columns.

    A name is in braces, because a bracket or a star at the start of a line would belong to the command before it.
    """
    tables = [_sequence(board, number, block) for number, block in enumerate(board.blocks, 1)]
    if board.summary:
        tables.append(_over_orders(board))
    return "\n".join(line for table in tables for line in table)


def _sequence(board: SequenceBoard, number: int, block: SequenceBlock) -> Iterator[str]:
    titles = [*board.columns.values(), f"AP - {board.baseline}", "kept MB"]
    caption = [f"Rank {block.rank}, order {', '.join(block.order)}: {board.setting}.", f"Bold: {board.best}."]
    notes = [_TIED, *map(_safe, board.notes)] if number == 1 else [r"Notes: Table~\ref{tab:sequence-1}."]
    remarks = (_safe(f"{remark}.") for remark in block.remarks)
    words = [*map(_safe, caption), *notes, _safe(block.limits), *remarks]
    yield from _begin(" ".join(words), f"sequence-{number}", f"l{'c' * len(titles)}")
    yield f"Method & {' & '.join(map(_safe, titles))} {_END}"
    yield r"\midrule"
    for row in block.rows:
        yield f"{{{_safe(row.title)}}} & {_sequence_cells(board, row, len(titles))} {_END}"
    yield from _FINISH


def _sequence_cells(board: SequenceBoard, row: SequenceRow, width: int) -> str:
    if not row.metrics:
        return rf"\multicolumn{{{width}}}{{l}}{{{_safe(row.trouble)}}}"
    cells = [
        _marked(row.metrics[column].percent, row.mark(column)) if column in row.metrics else _HOLE
        for column in board.columns
    ]
    found = row.difference.get("ap")
    mark = row.verdict("difference", found) if found else ""
    cells.append(_HOLE if found is None else _marked(found.signed_percent, mark))
    kept, _ = row.cost_texts
    return " & ".join([*cells, kept if kept != "-" else _HOLE])


def _over_orders(board: SequenceBoard) -> Iterator[str]:
    caption = f"Over {len(board.orders)} orders: mean (lowest to highest). {board.setting}."
    yield from _begin(_safe(caption), "sequence-orders", "lcccc")
    yield f"Method & Rank & AP & BWT & Source {_END}"
    yield r"\midrule"
    for line in board.summary:
        name = f"({line.key.name})" if line.key.control else line.key.name
        numbers = (_over(line, column) for column in ("ap", "bwt", "source"))
        yield f"{{{_safe(name)}}} & {line.key.rank} & {' & '.join(numbers)} {_END}"
    yield from _FINISH


def _over(line: OrderSummary, column: str) -> str:
    found = line.columns.get(column)
    if found is None:
        return _HOLE
    return f"{found.mean.percent} ({100 * found.lowest:z.2f} to {100 * found.highest:z.2f})"


def _begin(caption: str, label: str, columns: str) -> Iterator[str]:
    yield r"\begin{table*}[t]"
    yield r"\centering"
    yield rf"\caption{{{caption}}}"
    yield rf"\label{{tab:{label}}}"
    yield rf"\begin{{tabular}}{{{columns}}}"
    yield r"\toprule"


def _table(leaderboard: Leaderboard, table: Table) -> Iterator[str]:
    columns = len(leaderboard.columns) + 1
    names = [*(_safe(source) for source in leaderboard.sources), "Source", "Target", "Avg"]
    place, numbers = table.target.replace("_", "-"), f"l{'c' * len(leaderboard.sources)}|c|c|c"
    yield from _begin(_caption(leaderboard, table), place, numbers)
    yield f"Method & {' & '.join(names)} {_END}"
    for block in table.blocks():
        yield r"\midrule"
        if block[0].rank is not None:
            connector = f", connector {_safe(block[0].connector)}" if len(leaderboard.connectors) > 1 else ""
            yield rf"\multicolumn{{{columns}}}{{l}}{{\textit{{Rank {block[0].rank}{connector}}}}} {_END}"
        for row in block:
            name = _safe((f"({row.name})" if row.control else row.name) + row.sign)
            yield f"{name} & {_cells(leaderboard, row)} {_END}"
    yield from _FINISH


def _cells(leaderboard: Leaderboard, row: Row) -> str:
    if not row.scores:
        return rf"\multicolumn{{{len(leaderboard.columns)}}}{{l}}{{{_safe(row.trouble)}}}"
    return " & ".join(_score(row, column) for column in leaderboard.columns)


def _score(row: Row, column: str) -> str:
    if column not in row.scores:
        return _HOLE
    return _marked(row.scores[column].percent, row.mark(column))


def _marked(text: str, mark: str) -> str:
    if mark == "best":
        return rf"\textbf{{{text}}}"
    return text + {"tied": "$^{=}$", "foreign": _ESCAPES["†"], "": ""}[mark]


def _caption(leaderboard: Leaderboard, table: Table) -> str:
    sentences = [
        f"Fine-tuned on {table.target}: {leaderboard.setting}.",
        "Bold: the highest number of its rank.",
    ]
    holes = [f"{remark}." for remark in table.remarks]
    text = [
        *map(_safe, sentences),
        _TIED,
        *map(_safe, leaderboard.notes),
        _safe(leaderboard.resolution(table)),
    ]
    return " ".join([*text, *map(_safe, holes)])


def _safe(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)
