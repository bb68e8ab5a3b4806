"""The leaderboard as Markdown, for a README, an issue or a note."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench import Estimate, Leaderboard, Row, Table

SUFFIX = "md"  # the report's file is leaderboard.md

_HOLE = "-"
_MARKS = {"tied": " =", "foreign": " †", "": ""}  # how a difference is marked


def write(leaderboard: Leaderboard, path: Path) -> Path:
    """Write the leaderboard as one Markdown file."""
    path.write_text(render(leaderboard), encoding="utf-8")
    return path


def render(leaderboard: Leaderboard) -> str:
    """Return a section per target: the table, every seed if there are few, and the limits of the numbers."""
    heading = leaderboard.heading
    lines = [f"# Leaderboard: {leaderboard.setting}", ""]
    origin = {"Command": heading.command, "Commit": heading.commit, "Environment": heading.environment}
    lines += [f"* {name}: `{value}`" for name, value in origin.items() if value]
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
    score, mark = row.scores[column], row.mark(column)
    text = f"**{score.percent}**" if mark == "best" else score.percent
    bounds = f" {_bounds(score)}" if interval else ""
    return text + (" =" if mark == "tied" else "") + bounds


def _difference(row: Row, quantity: Literal["difference", "gain"], column: str) -> str:
    found = (row.difference if quantity == "difference" else row.gain).get(column)
    if found is None:
        return _HOLE
    return f"{found.signed_percent}{_MARKS[row.verdict(quantity, found)]} {_bounds(found)}"


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


def _safe(text: str) -> str:
    """Escape an error text, so that it neither breaks its table cell nor acts as markup."""
    for character in "\\`*_|<>[]":
        text = text.replace(character, f"\\{character}")
    return text
