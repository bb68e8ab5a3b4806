"""Draw Source against Target, and cost against Avg: a row of panels per target, a panel per rank, a mark per row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.leaderboard import plots
from bench.leaderboard.stats import Estimate, bounded
from bench.leaderboard.tables import Leaderboard, Row, Table
from bench.plan.row_key import RowKey

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "source-target"
_PANEL = (3.5, 3.3)  # inches
_LEGEND = 2.3
_CONTROL = {"color": plots.FAINT, "markersize": 4.5, "alpha": 0.9}
_CONTROL_MARKERS = "ospD^vX*"


@dataclass(frozen=True, slots=True)
class Panel:
    """The rows of a target at a rank, and the row of the untouched base model, if it is measured."""

    target: str
    title: str
    rows: tuple[Row, ...]
    base: Row | None


def save(board: Leaderboard, folder: Path) -> list[Path]:
    """Save Source against Target as PNG and SVG with its numbers as CSV; return the paths, none without numbers."""
    made = draw(board)
    if made is None:
        return []
    return [*plots.save(made, folder, NAME), plots.save_data(frame(board), folder, NAME)]


def draw(board: Leaderboard, targets: Sequence[str] | None = None) -> Figure | None:
    """Return the figure of Source against Target for all targets or some, or None if nothing is measured."""
    return _figure(board, targets, _draw_scores, "Target (x100)", "Source (x100)")


def draw_costs(board: Leaderboard, targets: Sequence[str] | None = None) -> Figure | None:
    """Return the figure of training seconds against Avg for all targets or some, or None if nothing is measured."""
    return _figure(board, targets, _draw_costs, "training (s)", "Avg (x100)")


def frame(board: Leaderboard) -> pd.DataFrame:
    """Return the numbers of Source against Target as fractions: a line per row of a panel."""
    lines = [
        {
            "target": panel.target,
            "method": row.method,
            "variant": row.variant,
            "rank": row.rank,
            "control": row.control,
            **bounded("source_mean", row.scores["source"]),
            **bounded("target_score", row.scores["target"]),
        }
        for table in board.tables
        for panel in _panels(board, table)
        for row in ([panel.base] if panel.base else []) + list(panel.rows)
        if {"source", "target"} <= row.scores.keys()
    ]
    return pd.DataFrame(lines)


def looks(board: Leaderboard) -> dict[RowKey, dict[str, Any]]:
    """Return the keywords for the mark of every row but the base model's.

    A method has one colour and one marker at every rank, however the rows are sorted. A row with a variant, such as the
    tuned one, is hollow, and a control is small and grey.
    """
    rows = [row for table in board.tables for row in table.rows if row.rank is not None]
    controls = sorted({row.name for row in rows if row.control})
    found: dict[RowKey, dict[str, Any]] = {}
    for row in rows:
        if row.control:
            marker = _CONTROL_MARKERS[controls.index(row.name) % len(_CONTROL_MARKERS)]
            found[row.key] = {**_CONTROL, "marker": marker, "markerfacecolor": "none"}
            continue
        number = board.methods.index(row.method)
        mark = plots.MARKS[number % len(plots.MARKS)]
        hollow = bool(row.variant) != (number >= len(plots.MARKS))
        found[row.key] = {**mark.line, "markersize": 6, **({"markerfacecolor": "none"} if hollow else {})}
    return found


def _panels(board: Leaderboard, table: Table) -> Iterator[Panel]:
    base = next((row for row in table.rows if row.rank is None and "source" in row.scores), None)
    for block in table.blocks():
        rank, connector = block[0].rank, block[0].connector
        if rank is not None:
            policy = f", connector {connector}" if len(board.connectors) > 1 else ""
            yield Panel(table.target, f"{table.target}, rank {rank}{policy}", block, base)


def _figure(
    board: Leaderboard,
    targets: Sequence[str] | None,
    draw: Callable[[Axes, Panel, Mapping[RowKey, Mapping[str, Any]]], int],
    across: str,
    up: str,
) -> Figure | None:
    tables = [table for table in board.tables if targets is None or table.target in targets]
    grid = [list(_panels(board, table)) for table in tables]
    columns = max((len(line) for line in grid), default=0)
    if not columns:
        return None
    marks, drawn = looks(board), 0
    handles: dict[str, Any] = {}
    with plots.style():
        made = plots.figure(columns * _PANEL[0] + _LEGEND, len(grid) * _PANEL[1] + 0.3)
        places = made.subplots(len(grid), columns, squeeze=False)
        for line, cells in zip(grid, places, strict=True):
            for panel, axes in zip(line, cells, strict=False):
                drawn += draw(axes, panel, marks)
                axes.set(title=panel.title, xlabel=across)
                handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
            for axes in cells[len(line) :]:
                axes.set_axis_off()
            cells[0].set_ylabel(up)
        names = _in_order(board, handles)
        made.legend([handles[name] for name in names], names, loc="outside right upper")
    return made if drawn else None


def _in_order(board: Leaderboard, names: Iterable[str]) -> list[str]:
    """Return the names of a legend in the order in which methods were asked for, so that all figures have one order.

    What is no row, such as the front, comes first, and controls come last.
    """
    rows = [row for table in board.tables for row in table.rows if row.rank is not None]
    places = {_label(row): len(board.methods) if row.control else board.methods.index(row.method) for row in rows}
    return sorted(names, key=lambda name: (places.get(name, -1), name))


def _draw_scores(axes: Axes, panel: Panel, marks: Mapping[RowKey, Mapping[str, Any]]) -> int:
    """Draw a panel of Source against Target; return how many rows it has."""
    points = [row for row in panel.rows if {"source", "target"} <= row.scores.keys()]
    for row in sorted(points, key=lambda row: not row.control):  # controls below
        _point(axes, row, row.scores["target"], row.scores["source"], marks)
    _front(axes, [row for row in points if row.ranked])
    if panel.base is not None:
        source, target = panel.base.scores["source"], panel.base.scores.get("target")
        axes.axhline(100 * source.value, color=plots.FAINT, linewidth=0.9, linestyle=":", zorder=0)
        if target is not None:
            look: dict[str, Any] = {"marker": "o", "color": plots.INK, "markersize": 5, "linestyle": "none"}
            axes.plot(
                [100 * target.value], [100 * source.value], label="base model", gid=gid_of(panel.base.key), **look
            )
    return len(points)


def _front(axes: Axes, rows: Sequence[Row]) -> None:
    """Join the rows that no other row exceeds in both numbers."""
    places = [(row.scores["target"].value, row.scores["source"].value) for row in rows]
    best = sorted(p for p in places if not any(q[0] >= p[0] and q[1] >= p[1] and q != p for q in places))
    if len(best) > 1:
        across, up = ([100 * value for value in part] for part in zip(*best, strict=True))
        axes.step(across, up, where="pre", color=plots.FAINT, linewidth=1, zorder=1, label="front")


def _draw_costs(axes: Axes, panel: Panel, marks: Mapping[RowKey, Mapping[str, Any]]) -> int:
    """Draw a panel of training seconds against Avg; return how many rows it has."""
    points = [row for row in panel.rows if "avg" in row.scores and row.cost and row.cost.train_seconds]
    for row in points:
        seconds = row.cost.train_seconds if row.cost else 0.0
        _point(axes, row, Estimate(seconds / 100, seconds / 100, seconds / 100, {}), row.scores["avg"], marks)
    if points:
        axes.set_xlim(left=-0.04 * max(row.cost.train_seconds for row in points if row.cost))
    return len(points)


def _point(axes: Axes, row: Row, across: Estimate, up: Estimate, marks: Mapping[RowKey, Mapping[str, Any]]) -> None:
    bar = axes.errorbar(
        [100 * across.value],
        [100 * up.value],
        xerr=_sides(across),
        yerr=_sides(up),
        label=_label(row),
        linestyle="none",
        elinewidth=0.8,
        **marks[row.key],
    )
    for artist in (bar.lines[0], *bar.lines[2]):
        artist.set_gid(gid_of(row.key))


def _label(row: Row) -> str:
    """Return the name of a row in a legend."""
    return f"({row.name}){row.sign}" if row.control else f"{row.name}{row.sign}"


def gid_of(key: RowKey) -> str:
    """Return the id that the parts of a figure that belong to a row have in its SVG."""
    return f"row:{key.name}:{key.rank or 0}:{key.connector}"


def _sides(value: Estimate) -> list[list[float]]:
    return [[100 * (value.value - value.low)], [100 * (value.high - value.value)]]
