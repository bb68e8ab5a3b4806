r"""The leaderboard, and a sequence of tasks, as LaTeX tables like those of papers; need only \usepackage{booktabs}."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench import Estimate, Leaderboard, OrderSummary, Row, SequenceBlock, SequenceBoard, SequenceRow, Table

SUFFIX = "tex"  # the report's file is leaderboard.tex

_HOLE = "--"
_END = r"\\"
_FINISH = (r"\bottomrule", r"\end{tabular}", r"\end{table*}", "")
_MARKED = "Bold: {best}; $^{{=}}$: not told apart from it; $\\pm$: 95\\% intervals."
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
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
    tables = enumerate(leaderboard.tables, 1)
    return "\n".join(line for number, table in tables for line in _table(leaderboard, number, table))


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
    title = board.heading.title
    titles = [*board.columns.values(), f"AP - {title(board.baseline)}", "kept MB"]
    order = ", ".join(map(title, block.order))
    caption = _safe(f"Rank {block.rank}, order {order}; {_short(board)}.")
    yield from _comments([f"{board.setting}.", f"=: {board.tie}.", *board.notes, block.limits, *block.remarks])
    yield from _begin(f"{caption} {_marked_by(board.best)}", f"sequence-{number}", f"l{'c' * len(titles)}")
    yield f"Method & {' & '.join(map(_safe, titles))} {_END}"
    yield r"\midrule"
    for row in block.rows:
        signs = row.title.removeprefix("(").removeprefix(row.key.name).removeprefix(")")
        name = _safe(f"{board.heading.row_title(row.key)}{signs}")
        yield f"{{{name}}} & {_sequence_cells(board, row, len(titles))} {_END}"
    yield from _FINISH


def _sequence_cells(board: SequenceBoard, row: SequenceRow, width: int) -> str:
    if not row.metrics:
        return rf"\multicolumn{{{width}}}{{l}}{{{_safe(row.trouble)}}}"
    cells = [
        _number(row.metrics.get(column), row.mark(column), wide=column in ("ap", "source")) for column in board.columns
    ]
    found = row.difference.get("ap")
    cells.append(_number(found, row.verdict("difference", found) if found else "", wide=True, signed=True))
    kept, _ = row.cost_texts
    return " & ".join([*cells, kept if kept != "-" else _HOLE])


def _over_orders(board: SequenceBoard) -> Iterator[str]:
    caption = f"Over {len(board.orders)} orders: mean (lowest to highest); {_short(board)}."
    yield from _begin(_safe(caption), "sequence-orders", "lcccc")
    yield f"Method & Rank & AP & BWT & Source {_END}"
    yield r"\midrule"
    for line in board.summary:
        name = board.heading.row_title(line.key)
        numbers = (_over(line, column) for column in ("ap", "bwt", "source"))
        yield f"{{{_safe(name)}}} & {line.key.rank} & {' & '.join(numbers)} {_END}"
    yield from _FINISH


def _over(line: OrderSummary, column: str) -> str:
    found = line.columns.get(column)
    if found is None:
        return _HOLE
    text = f"{found.mean.percent} ({100 * found.lowest:z.2f} to {100 * found.highest:z.2f})"
    return text.replace("-", "$-$")


def _begin(caption: str, label: str, columns: str) -> Iterator[str]:
    yield r"\begin{table*}[t]"
    yield r"\centering"
    yield rf"\caption{{{caption}}}"
    yield rf"\label{{tab:{label}}}"
    yield rf"\begin{{tabular}}{{{columns}}}"
    yield r"\toprule"


def _table(leaderboard: Leaderboard, number: int, table: Table) -> Iterator[str]:
    title, sources = leaderboard.heading.title, leaderboard.sources
    names = [*map(title, sources), "Source", "Target", "Avg", "Forgetting", f"Avg - {title(leaderboard.baseline)}"]
    numbers = f"l{'c' * len(sources)}|c|c|c|c|c"
    notes = [f"{leaderboard.setting}.", f"=: {leaderboard.tie}.", *leaderboard.notes, leaderboard.resolution(table)]
    yield from _comments([*notes, *table.remarks])
    caption = _safe(f"Fine-tuned on {title(table.target)}, {_short(leaderboard)}.")
    yield from _begin(f"{caption} {_marked_by('the highest of its rank')}", _label(number, table.target), numbers)
    yield f"Method & {' & '.join(map(_safe, names))} {_END}"
    for block in table.blocks():
        yield r"\midrule"
        if block[0].rank is not None:
            connector = f", connector {_safe(block[0].connector)}" if len(leaderboard.connectors) > 1 else ""
            spanned = rf"\multicolumn{{{len(names) + 1}}}{{l}}"
            yield rf"{spanned}{{\textit{{Rank {block[0].rank}{connector}}}}} {_END}"
        for row in block:
            name = _safe(f"{leaderboard.heading.row_title(row.key)}{row.sign}")
            yield f"{{{name}}} & {_cells(leaderboard, row)} {_END}"
    yield from _FINISH


def _cells(leaderboard: Leaderboard, row: Row) -> str:
    if not row.scores:
        return rf"\multicolumn{{{len(leaderboard.sources) + 5}}}{{l}}{{{_safe(row.trouble)}}}"
    wide = ("source", "target", "avg")
    cells = [_number(row.scores.get(column), row.mark(column), wide=column in wide) for column in leaderboard.columns]
    lost, gap = row.forgetting.get("source"), row.difference.get("avg")
    cells.append(_number(lost, row.verdict("forgetting", lost) if lost else "", wide=True))
    cells.append(_number(gap, row.verdict("difference", gap) if gap else "", wide=True, signed=True))
    return " & ".join(cells)


def _number(estimate: Estimate | None, mark: str, *, wide: bool = False, signed: bool = False) -> str:
    """Return a number with its mark, and with its interval if it is ``wide``."""
    if estimate is None:
        return _HOLE
    text = estimate.signed_percent if signed else estimate.percent
    text = f"$-${text[1:]}" if text.startswith("-") else text
    marked = {"best": rf"\textbf{{{text}}}", "tied": f"{text}$^{{=}}$", "foreign": text + _ESCAPES["†"], "": text}[mark]
    return marked + (rf"{{\scriptsize$\pm${100 * estimate.half_width:.2f}}}" if wide else "")


def _short(board: Leaderboard | SequenceBoard) -> str:
    """Return suite and seeds for a caption; the comments above a table have the rest."""
    count = len(board.seeds)
    return f"suite {board.heading.suite}, {count} seed{'s' * (count != 1)}"


def _marked_by(best: str) -> str:
    """Return what the marks of a table mean, for its caption."""
    return _MARKED.format(best=_safe(best))


def _comments(sentences: Sequence[str]) -> Iterator[str]:
    """Yield sentences as comments above a table, so that its caption stays short."""
    for sentence in sentences:
        yield f"% {' '.join(sentence.split())}"


def _label(number: int, name: str) -> str:
    """Return a label of ASCII letters, digits and dashes: LaTeX would carry out what else stands in a name."""
    return "-".join(re.findall(r"[A-Za-z0-9]+", name)) or f"target-{number}"


def _safe(text: str) -> str:
    """Return a text on one line, as LaTeX sets it literally: an empty line in a caption is an error."""
    return "".join(_ESCAPES.get(character, character) for character in " ".join(text.split()))
