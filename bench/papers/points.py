"""Turn rows of a leaderboard into points of a curve: as a data frame, as text or in a figure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from bench.leaderboard.plots import FAINT, Mark
from bench.leaderboard.stats import bounded
from bench.papers.published import own
from bench.papers.study import StudyResult
from bench.plugins.paper import PublishedRow
from bench.plugins.registry import ZERO_SHOT
from bench.text import text_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from bench.leaderboard.tables import Row

SCORES = ("source", "target", "avg")
SCORE_AXIS = "score x 100"
_PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class Spot:
    """A row by method and variant. ``places`` are its coordinates, which become columns of the CSV."""

    method: str
    variant: str
    places: Mapping[str, float | str]


def frame(found: StudyResult, spots: Mapping[str, Sequence[Spot]]) -> DataFrame:
    """Return a line per target, rank and spot, with scores as fractions and NaN for holes.

    The first line of a target is the base model's. ``spots`` is by target. A line also has the paper's numbers if the
    study is comparable and the spot is a method's own row.
    """
    import pandas as pd

    lines = []
    for table in found.board.tables:
        rows = {(row.method, row.variant, row.rank): row for row in table.rows}
        lines.append(_line(table.target, rows[ZERO_SHOT, "", None], {}, None))
        for rank, spot in product(found.request.ranks, spots[table.target]):
            row = rows[spot.method, spot.variant, rank]
            theirs = None if spot.variant else own(found, (spot.method, rank, table.target))
            lines.append(_line(table.target, row, spot.places, theirs))
    made = pd.DataFrame(lines, columns=list(lines[-1]))  # the base model's lines have no places
    return made.astype({"rank": "Int64", **dict.fromkeys(made.loc[:, SCORES[0] :].columns, float)})


def _line(
    target: str, row: Row, places: Mapping[str, float | str], theirs: PublishedRow | None
) -> dict[str, float | str | None]:
    return {
        "task": target,
        "method": row.method,
        "variant": row.variant,
        "rank": row.rank,
        **places,
        **{name: value for score in SCORES for name, value in bounded(score, row.scores.get(score)).items()},
        **{f"published_{score}": round(theirs.scores[score], 8) if theirs else None for score in SCORES},
    }


def empty(made: DataFrame) -> bool:
    """Whether no spot has a score, so that there is nothing to draw."""
    return bool(made.loc[made["method"] != ZERO_SHOT, list(SCORES)].isna().to_numpy().all())


def draw(axes: Axes, part: DataFrame, x: str, score: str, look: Mark, label: str) -> None:
    """Draw a score over ``x`` with its intervals, and the paper's numbers as larger hollow marks."""
    shown = part.dropna(subset=[score])
    value = _PERCENT * shown[score]
    around = [value - _PERCENT * shown[f"{score}_low"], _PERCENT * shown[f"{score}_high"] - value]
    axes.errorbar(shown[x], value, yerr=around, elinewidth=0.9, capsize=2, label=label, **look.line)
    theirs = part.dropna(subset=[f"published_{score}"])
    axes.plot(theirs[x], _PERCENT * theirs[f"published_{score}"], **_hollow(look))


def _hollow(look: Mark) -> dict[str, Any]:
    return {**look.line, "markerfacecolor": "none", "markersize": 10, "linestyle": "none"}


def zero_shot(axes: Axes, made: DataFrame, task: str, score: str, color: str = FAINT) -> None:
    """Draw the base model's score as a dashed line."""
    value = made.loc[(made["method"] == ZERO_SHOT) & (made["task"] == task), score].iloc[0]
    axes.axhline(_PERCENT * value, color=color, linestyle=(0, (4, 3)), linewidth=1, zorder=1)


def title(found: StudyResult, target: str) -> str:
    """Return a panel's title."""
    return f"target {target}, rank {found.request.ranks[0]}"


def log_axis(axes: Axes, values: Sequence[float]) -> None:
    """Make the x axis logarithmic, with ticks at the measured values."""
    axes.set_xscale("log")
    axes.set_xticks(values, [short(value) for value in values])
    axes.set_xticks([], minor=True)


def legend(figure: Figure, looks: dict[str, Mark], made: DataFrame) -> None:
    """Put one legend under the panels: the series, the base model and, if drawn, the paper's marks."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=label, **look.line) for label, look in looks.items()]
    handles.append(Line2D([], [], color=FAINT, linestyle=(0, (4, 3)), linewidth=1, label="zero-shot"))
    if made[[f"published_{score}" for score in SCORES]].notna().to_numpy().any():
        handles.append(Line2D([], [], label="paper (Table 1)", **_hollow(Mark(FAINT, "o"))))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def lines(made: DataFrame, places: Sequence[str]) -> Iterator[str]:
    """Return the frame as text: scores x 100 with half the width of their intervals."""
    grid = [["task", "method", *places, "Source", "", "Target", "", "Avg", ""]]
    for _, line in made.iterrows():
        cells = [str(line["task"]), str(line["method"])]
        cells += ["-" if line["method"] == ZERO_SHOT else _place(line[name]) for name in places]
        for score in SCORES:
            half = (line[f"{score}_high"] - line[f"{score}_low"]) / 2
            cells += (
                ["-", ""] if math.isnan(line[score]) else [f"{_PERCENT * line[score]:.2f}", f"±{_PERCENT * half:.2f}"]
            )
        grid.append(cells)
    return text_table(grid, left={0, 1, *range(len(grid[0]) - 5, len(grid[0]), 2)})


def _place(value: object) -> str:
    return short(value) if isinstance(value, float) else str(value)


def short(value: float) -> str:
    """Return a number as axes, tables and variants show it.

    >>> short(0.0001), short(0.05), short(2 / 3)
    ('1e-4', '0.05', '0.667')
    """
    brief = f"{value:.0e}"
    text = brief if 0 < value < 0.01 and float(brief) == value else f"{value:.3g}"
    return text.replace("e-0", "e-")


def troubles(found: StudyResult) -> list[str]:
    """Return a line for every row that lacks numbers."""
    return [
        f"{row.label} on {table.target}: {row.trouble}"
        for table in found.board.tables
        for row in table.rows
        if row.problems
    ]
