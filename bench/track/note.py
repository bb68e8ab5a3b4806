"""Write the description of a command's run in MLflow: its leaderboard as a short table in Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.leaderboard.tables import Leaderboard, Row

FIGURE = "source-target.png"
_LONGEST = 7_500  # MLflow keeps 8,000 letters of a tag
_HEADS = ("method", "rank", "Source", "Target", "Avg", "lost", "Avg - ")


def describe(board: Leaderboard) -> str:
    """Return the leaderboard as Markdown, x100; rows that do not fit are counted."""
    lines = list(_lines(board))
    kept: list[str] = []
    for line in lines:
        if sum(map(len, kept)) + len(kept) + len(line) > _LONGEST:
            kept.append(f"\n{len(lines) - len(kept)} more lines are in leaderboard.md, among the artifacts.")
            break
        kept.append(line)
    return "\n".join(kept)


def picture(run: str) -> str:
    """Return Markdown that shows the figure of Source against Target, an artifact of an MLflow ``run``."""
    return f"\n\n![Source against Target](get-artifact?path={FIGURE}&run_uuid={run})"


def _lines(board: Leaderboard) -> Iterator[str]:
    yield f"{board.setting}. All reports are among the artifacts."
    for table in board.tables:
        yield ""
        yield f"**{table.target}**"
        yield ""
        yield f"| {' | '.join(_HEADS)}{board.baseline} |"
        yield "|---" * len(_HEADS) + "|"
        for row in table.rows:
            if row.scores:
                yield f"| {' | '.join(_cells(row))} |"


def _cells(row: Row) -> Iterator[str]:
    name = (f"({row.name})" if row.control else row.name).replace("|", "\\|")
    yield f"{name}{row.sign}"
    yield str(row.rank or "")
    for column in ("source", "target", "avg"):
        found = row.scores.get(column)
        text = "-" if found is None else f"{found.percent} ±{100 * found.half_width:.2f}"
        yield f"**{text}**" if row.mark(column) == "best" else text
    lost, gap = row.forgetting.get("source"), row.difference.get("avg")
    yield "-" if lost is None else lost.percent
    mark = "" if gap is None else {"tied": " =", "foreign": " †", "": ""}[row.verdict("difference", gap)]
    yield "-" if gap is None else f"{gap.signed_percent}{mark}"
