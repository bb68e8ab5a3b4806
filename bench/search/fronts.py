"""Draw the fronts of all methods of a search in one figure: a panel for each target and rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.leaderboard import plots
from bench.leaderboard.scatter import gid_of
from bench.plan.tuned import quest_row
from bench.search.pareto import front, scored
from bench.store.search_results import SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

NAME = "fronts"
_PANEL = (3.9, 3.5)  # inches
_LEGEND = 2.3
_MARKED = ("chosen", "default")


def save(results: Sequence[SearchResult], folder: Path) -> list[Path]:
    """Save the figure as PNG and SVG with its numbers as CSV; return the paths, none without a scored configuration."""
    made = draw(results)
    if made is None:
        return []
    return [*plots.save(made, folder, NAME), plots.save_data(frame(results), folder, NAME)]


def frame(results: Sequence[SearchResult]) -> DataFrame:
    """Return a row per scored configuration, with scores as fractions."""
    import pandas as pd

    lines = []
    for result in results:
        points = scored(result.configurations)
        best = {point.number for point in front(points)}
        names = {name: result.facts[name] for name in ("target", "rank", "method")}
        for point in points:
            scores = {"source": point.source, "target_score": point.target, "avg": point.avg}
            marks = {"chosen": point.number == result.chosen, "default": point.number == result.default}
            lines.append({**names, "number": point.number, **scores, "front": point.number in best, **marks})
    return pd.DataFrame(lines)


def draw(results: Sequence[SearchResult]) -> Figure | None:
    """Return the figure, or None if no configuration has scores."""
    if not any(scored(result.configurations) for result in results):
        return None
    targets = list(dict.fromkeys(result.learnt for result in results))
    ranks = sorted({result.facts["rank"] for result in results})
    looks = _looks(results)
    handles: dict[str, Any] = {}
    with plots.style():
        made = plots.figure(len(ranks) * _PANEL[0] + _LEGEND, len(targets) * _PANEL[1] + 0.3)
        grid = made.subplots(len(targets), len(ranks), squeeze=False)
        for learnt, line in zip(targets, grid, strict=True):
            for rank, axes in zip(ranks, line, strict=True):
                here = [one for one in results if (one.learnt, one.facts["rank"]) == (learnt, rank)]
                for result in here:
                    _draw(axes, result, looks[result.facts["method"]])
                axes.set(
                    title=f"{learnt}, rank {rank}",
                    xlabel=f"{results[0].goal} x 100, validation",
                    ylabel="Source x 100, validation",
                )
                axes.margins(0.08)
                handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        names = sorted(handles, key=lambda name: name in _MARKED)  # methods first
        made.legend([handles[name] for name in names], names, loc="outside right upper")
    return made


def _looks(results: Sequence[SearchResult]) -> Mapping[str, Mapping[str, Any]]:
    """Return the colour and the marker of each method; beyond the list of marks they come again, hollow."""
    found = {}
    for number, method in enumerate(dict.fromkeys(result.facts["method"] for result in results)):
        mark = plots.MARKS[number % len(plots.MARKS)]
        hollow = {"markerfacecolor": "none"} if number >= len(plots.MARKS) else {}
        found[method] = {**mark.line, "markersize": 5.5, **hollow}
    return found


def _draw(axes: Axes, result: SearchResult, look: Mapping[str, Any]) -> None:
    """Draw the configurations of a method, pale unless they are on its front, and mark the chosen and the default."""
    points = scored(result.configurations)
    if not points:
        return
    gid = gid_of(quest_row(result))
    places = {point.number: (100 * point.target, 100 * point.source) for point in points}
    best = sorted(front(points), key=lambda point: point.target)
    pale = {**look, "alpha": 0.35, "markersize": 4}
    axes.plot(*zip(*places.values(), strict=True), linestyle="none", gid=gid, zorder=2, **pale)
    across, up = zip(*(places[point.number] for point in best), strict=True)
    axes.plot(across, up, drawstyle="steps-pre", linewidth=1.1, gid=gid, label=result.facts["method"], zorder=3, **look)
    ring: dict[str, Any] = {"linestyle": "none", "markerfacecolor": "none", "gid": gid, "zorder": 4}
    if result.chosen is not None:
        axes.plot(*places[result.chosen], "o", markersize=12, color=plots.INK, label="chosen", **ring)
    if result.default is not None:
        axes.plot(*places[result.default], "s", markersize=10, color=plots.FAINT, label="default", **ring)
