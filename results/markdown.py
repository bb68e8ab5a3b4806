"""The leaderboard, or the tables of a sequence of tasks, as Markdown: for a README, an issue or a note."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench import Estimate, Leaderboard, OrderSummary, Row, SequenceBlock, SequenceBoard, SequenceRow, Table

SUFFIX = "md"  # the report's file is leaderboard.md

_HOLE = "-"
_MARKS = {"tied": " =", "foreign": " †", "": ""}  # how a difference is marked


def write(leaderboard: Leaderboard, path: Path) -> Path:
    """Write the leaderboard as one Markdown file."""
    path.write_text(render(leaderboard), encoding="utf-8")
    return path


def render(leaderboard: Leaderboard) -> str:
    """Return a section per target: the table, every seed if there are few, and the limits of the numbers."""
    lines = [f"# Leaderboard: {leaderboard.setting}", "", *_origin(leaderboard)]
    for table in leaderboard.tables:
        lines += ["", f"## Target {table.target}", "", *_grid(_head(leaderboard), _rows(leaderboard, table))]
        if leaderboard.spread_shown:
            lines += ["", "All seeds and their range:", ""]
            lines += _grid(_seed_head(leaderboard), _seed_rows(table))
        if any(row.gain and not row.control for row in table.rows):
            lines += ["", "Paired differences from the method's own row:", ""]
            lines += _grid(["row", "Source", "Target", "Avg"], _gain_rows(table))
        lines += ["", leaderboard.resolution(table)]
        remarks = [f"* {_safe(remark)}" for remark in table.remarks]
        lines += ["", *remarks] if remarks else []
    lines += [
        "",
        f"**Bold**: the highest number of its rank. =: {leaderboard.tie}; in Avg - {leaderboard.baseline}: the "
        "paired interval covers 0. Brackets: the interval.",
        "",
        *leaderboard.notes,
    ]
    return "\n".join(lines) + "\n"


def _origin(board: Leaderboard | SequenceBoard) -> Iterator[str]:
    heading = board.heading
    origin = {"Command": heading.command, "Commit": heading.commit, "Environment": heading.made_with}
    yield from (f"* {name}: {_code(value)}" for name, value in origin.items() if value)


def write_sequences(board: SequenceBoard, path: Path) -> Path:
    """Write the tables of a sequence of tasks as one Markdown file."""
    path.write_text(render_sequences(board), encoding="utf-8")
    return path


def render_sequences(board: SequenceBoard) -> str:
    """Return a section per order and rank: the metrics, the scores after each stage, and the limits of the numbers."""
    lines = [f"# Sequence of {len(board.tasks)} tasks: {_safe(board.setting)}", "", *_origin(board)]
    for block in board.blocks:
        lines += ["", f"## Rank {block.rank}, order {_safe(', '.join(block.order))}", ""]
        head = ["method", *board.columns.values(), *(f"{name} - {board.baseline}" for name in ("AP", "Source"))]
        lines += _grid([*head, "kept MB", "s per stage"], _metric_rows(board, block))
        lines += ["", "Scores after each stage:", ""]
        tasks = map(_safe, block.order)
        lines += _grid(["method", "stage", "learnt", *tasks, "AP", "Source"], _stage_rows(block))
        lines += ["", _safe(block.limits)]
        remarks = [f"* {_safe(remark)}" for remark in block.remarks]
        lines += ["", *remarks] if remarks else []
    if board.summary:
        lines += ["", f"## Over {len(board.orders)} orders", ""]
        head = ["method", "rank", "orders", "of", "mean", "lowest", "highest", "spread"]
        lines += _grid(head, (cells for line in board.summary for cells in _order_rows(line)))
    lines += [
        "",
        f"**Bold**: {board.best}. =: {board.tie}; in a difference from {board.baseline}: the paired interval covers 0. "
        "Brackets after a number: its interval. A method in brackets is a control.",
        "",
        *map(_safe, board.notes),
    ]
    return "\n".join(lines) + "\n"


def _metric_rows(board: SequenceBoard, block: SequenceBlock) -> Iterator[list[str]]:
    for row in block.rows:
        if not row.metrics:
            yield [_safe(row.title), _safe(row.trouble), *([_HOLE] * (len(board.columns) + 3))]
            continue
        cells = [_safe(row.title)]
        for column in board.columns:
            found = row.metrics.get(column)
            mark = row.verdict("zero_shot", found) if found and column == "source_lost" else row.mark(column)
            cells.append(_HOLE if found is None else f"{_marked(found.percent, mark)} {_bounds(found)}")
        yield [*cells, *(_sequence_difference(row, column) for column in ("ap", "source")), *row.cost_texts]


def _sequence_difference(row: SequenceRow, column: str) -> str:
    found = row.difference.get(column)
    return _HOLE if found is None else _signed(found, row.verdict("difference", found))


def _stage_rows(block: SequenceBlock) -> Iterator[list[str]]:
    for row in block.rows:
        for stage in row.stages:
            scores = [*(stage.scores.get(task) for task in block.order), stage.average, stage.source]
            numbers = [_HOLE if found is None else f"{found.percent} {_bounds(found)}" for found in scores]
            yield [_safe(row.title), str(stage.number), _safe(stage.task) or _HOLE, *numbers]


def _order_rows(line: OrderSummary) -> Iterator[list[str]]:
    name = f"({line.key.name})" if line.key.control else line.key.name
    for column, title in (("ap", "AP"), ("bwt", "BWT"), ("source", "Source")):
        if column in line.columns:
            found = line.columns[column]
            levels = (f"{100 * level:z.2f}" for level in (found.lowest, found.highest, found.spread))
            mean = f"{found.mean.percent} {_bounds(found.mean)}"
            yield [_safe(name), str(line.key.rank), str(line.orders), title, mean, *levels]


def _head(leaderboard: Leaderboard) -> list[str]:
    scores = [*leaderboard.sources, "Source", "Target", "Avg", "Source lost", f"Avg - {leaderboard.baseline}"]
    connector = ["connector"] if len(leaderboard.connectors) > 1 else []
    tries = ["tries"] if leaderboard.tuned else []
    unbeaten = ["not above"] if leaderboard.controlled else []
    return ["method", "rank", *connector, *tries, *scores, *unbeaten, "train s", "peak GB", "params"]


def _rows(leaderboard: Leaderboard, table: Table) -> Iterator[list[str]]:
    for row in table.rows:
        rank = _HOLE if row.rank is None else str(row.rank)
        name = (f"({row.name})" if row.control else row.name) + row.sign
        cells = [name, rank, *([row.connector] if len(leaderboard.connectors) > 1 else [])]
        cells += [str(row.tries) if row.tries > 1 else _HOLE] if leaderboard.tuned else []
        if not row.scores:
            empty = [_HOLE] * (len(_head(leaderboard)) - len(cells) - 1)
            yield [*cells, _safe(row.trouble), *empty]
            continue
        cells += [_score(row, column, interval=column not in leaderboard.sources) for column in leaderboard.columns]
        lost = row.forgetting.get("source")
        cells.append(lost.percent + _MARKS[row.verdict("forgetting", lost)] if lost else _HOLE)
        cells.append(_difference(row, "difference", "avg"))
        cells += [", ".join(row.unbeaten)] if leaderboard.controlled else []
        yield [*cells, *row.cost_texts]


def _gain_rows(table: Table) -> Iterator[list[str]]:
    for row in table.rows:
        if row.gain and not row.control:
            yield [row.label, *(_difference(row, "gain", column) for column in ("source", "target", "avg"))]


def _score(row: Row, column: str, *, interval: bool) -> str:
    if column not in row.scores:
        return _HOLE
    score = row.scores[column]
    return _marked(score.percent, row.mark(column)) + (f" {_bounds(score)}" if interval else "")


def _marked(text: str, mark: str) -> str:
    return f"**{text}**" if mark == "best" else text + _MARKS[mark]


def _difference(row: Row, quantity: Literal["difference", "gain"], column: str) -> str:
    found = (row.difference if quantity == "difference" else row.gain).get(column)
    if found is None:
        return _HOLE
    return _signed(found, row.verdict(quantity, found))


def _signed(difference: Estimate, verdict: str) -> str:
    return f"{difference.signed_percent}{_MARKS[verdict]} {_bounds(difference)}"


def _bounds(estimate: Estimate) -> str:
    return f"[{100 * estimate.low:z.2f}, {100 * estimate.high:z.2f}]"


def _seed_head(leaderboard: Leaderboard) -> list[str]:
    return ["method", "rank", "seeds", "Source", "Target", "Avg", f"Avg - {leaderboard.baseline}"]


def _seed_rows(table: Table) -> Iterator[list[str]]:
    for row in table.rows:
        if row.ranked and row.scores:
            shown = [row.scores.get("source"), row.scores.get("target"), row.scores.get("avg")]
            cells = [_seeds(estimate) for estimate in (*shown, row.difference.get("avg"))]
            yield [row.name, str(row.rank), " ".join(map(str, row.seeds)), *cells]


def _seeds(estimate: Estimate | None) -> str:
    if estimate is None:
        return _HOLE
    values = ", ".join(f"{100 * value:z.2f}" for value in estimate.by_seed.values())
    return f"{values} ({estimate.range_percent})"


def _grid(head: Sequence[str], rows: Iterator[list[str]]) -> list[str]:
    align = ["---", *("---:" for _ in head[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (head, align, *rows)]


def _code(text: str) -> str:
    """Return a text as code, between more backticks than it has in a row."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def _safe(text: str) -> str:
    """Escape a name or an error text, so that it neither breaks its table cell nor acts as markup."""
    text = " ".join(text.split())
    for character in "\\`*_|<>[]":
        text = text.replace(character, f"\\{character}")
    return text
