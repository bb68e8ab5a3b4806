"""Four figures of a search with their data: front, slices, parallel coordinates and history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.leaderboard import plots
from bench.plugins.hyperparameters import Range
from bench.search.axes import SearchAxis, search_axes
from bench.search.pareto import Point, front, hypervolume, scored
from bench.store.search_results import Configuration, SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

Ranges = Mapping[str, Range]
Places = Mapping[int, tuple[float, float]]  # by the number of a configuration

_TRIED, _FRONT, _CHOSEN = plots.MARKS[0], plots.MARKS[1], plots.MARKS[7]
_ENDED = {"failed": "x", "stopped": "|"}  # markers of configurations without scores


def write(result: SearchResult, ranges: Ranges, folder: Path) -> None:
    """Write every figure of a search to ``folder`` as PNG and SVG, and its data as CSV (fractions)."""
    for name, draw in _FIGURES.items():
        with plots.style():
            made, frame = draw(result, ranges)
            plots.save(made, folder, name)
        plots.save_data(frame, folder, name)


def table(result: SearchResult) -> DataFrame:
    """Return one row per configuration: number, state, hyperparameters, and scores as fractions."""
    import pandas as pd

    rows = [
        [
            *(item.number, item.state, *(item.hyper.get(name) for name in result.space)),
            *(item.source, item.target, item.avg, item.number == result.chosen, item.number == result.default),
        ]
        for item in result.configurations
    ]
    names = ["number", "state", *result.space, "source", "target", "avg", "chosen", "default"]
    return pd.DataFrame(rows, columns=names)


def draw_front(result: SearchResult, ranges: Ranges) -> tuple[Figure, DataFrame]:
    """Draw Source against Target; the front is a staircase above the area that it dominates."""
    made = plots.figure(5.6, 4.8)
    axes = made.subplots()
    best = front(points := scored(result.configurations))
    places = {point.number: (100 * point.target, 100 * point.source) for point in points}
    _scatter(axes, places, f"tried ({len(points)})")
    axes.margins(0.08)
    axes.autoscale_view()
    _staircase(axes, best)
    _mark(axes, result, places)
    _number_apart(axes, {point.number: places[point.number] for point in best})
    axes.set(xlabel=f"{result.goal} x 100, validation", ylabel="Source x 100, validation")
    _finish(made, result, f"hypervolume {hypervolume(points):.3f}")
    frame = table(result)
    frame.insert(2, "front", frame["number"].isin([point.number for point in best]))
    return made, frame


def draw_slices(result: SearchResult, ranges: Ranges) -> tuple[Figure, DataFrame]:
    """Draw every hyperparameter against Avg, Source and Target."""
    found, done = search_axes(ranges), [item for item in result.configurations if item.avg is not None]
    made = plots.figure(max(4.6, 1.2 + 2.1 * len(found)), 6.2)
    grid = made.subplots(3, len(found), sharex="col", sharey="row", squeeze=False)
    for row, name in enumerate(("avg", "source", "target")):
        for column, axis in enumerate(found):
            axes = grid[row][column]
            axis.set_axis(axes)
            places = {item.number: (_place(axis, item), 100 * getattr(item, name)) for item in done}
            _draw_all(axes, result, places, partial(_place, axis))
            if column == 0:
                axes.set_ylabel(f"{result.goal if name == 'target' else name.capitalize()} x 100")
            if row == 2:
                axes.set_xlabel(axis.title)
    _finish(made, result, "validation")
    return made, table(result)


def draw_parallel(result: SearchResult, ranges: Ranges) -> tuple[Figure, DataFrame]:
    """Draw a line per configuration through its hyperparameters and scores, darker for a higher Avg."""
    points = scored(result.configurations)
    found = [
        *search_axes(ranges),
        SearchAxis.of_scores("Source", [item.source for item in points]),
        SearchAxis.of_scores(result.goal, [item.target for item in points]),
    ]
    made = plots.figure(max(5.6, 2.2 + 1.45 * len(found)), 4.4)
    axes = made.subplots()
    shade = _colour_bar(axes, [100 * point.avg for point in points])
    for item in sorted(result.configurations, key=lambda item: (item.avg is not None, item.avg or 0)):
        _line(axes, result, item, found, shade)
    for place, axis in enumerate(found):
        axis.draw_upright(axes, place)
    axes.set(xlim=(-0.25, len(found) - 0.45), ylim=(-0.06, 1.06), yticks=[])
    axes.set_xticks(range(len(found)), [axis.title for axis in found])
    axes.tick_params(axis="x", length=0, pad=6)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    _finish(made, result, "validation")
    return made, table(result)


def draw_history(result: SearchResult, ranges: Ranges) -> tuple[Figure, DataFrame]:
    """Draw Avg and the best Avg so far by configuration number, and below them the hypervolume so far."""
    made = plots.figure(5.6, 5.0)
    upper, lower = made.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    points = scored(result.configurations)
    numbers = [point.number for point in points]
    best = [100 * max(point.avg for point in points[: count + 1]) for count in range(len(points))]
    volumes = [hypervolume(points[: count + 1]) for count in range(len(points))]
    _steps(upper, result, numbers, best, "best so far")
    places = {point.number: (float(point.number), 100 * point.avg) for point in points}
    _draw_all(upper, result, places, lambda item: item.number)
    upper.set_ylabel("Avg x 100, validation")
    _steps(lower, result, numbers, volumes, None)
    lower.plot(numbers, volumes, ".", color=_FRONT.color)
    lower.set(xlabel="configuration", ylabel="hypervolume so far")
    lower.margins(y=0.15)
    lower.xaxis.get_major_locator().set_params(integer=True)
    if result.configurations:  # the axis also spans configurations without scores
        lower.set_xlim(result.configurations[0].number - 0.5, result.configurations[-1].number + 0.5)
    _finish(made, result, f"{len(result.configurations)} configurations")
    frame = table(result)
    so_far = dict(zip(numbers, zip(best, volumes, strict=True), strict=True))
    frame["best_avg"] = [so_far[n][0] / 100 if n in so_far else None for n in frame["number"]]
    frame["hypervolume"] = [so_far[n][1] if n in so_far else None for n in frame["number"]]
    return made, frame


_FIGURES: Mapping[str, Callable[[SearchResult, Ranges], tuple[Figure, DataFrame]]] = {
    "front": draw_front,
    "slices": draw_slices,
    "parallel": draw_parallel,
    "history": draw_history,
}


def _place(axis: SearchAxis, item: Configuration) -> float:
    return axis.place(item.hyper[axis.name])


def _draw_all(axes: Axes, result: SearchResult, places: Places, across: Callable[[Configuration], float]) -> None:
    """Draw every configuration: a point if it has scores, else a mark at the bottom."""
    _scatter(axes, places, "tried")
    _mark(axes, result, places)
    _mark_ended(axes, result, across)
    axes.margins(y=0.12)


def _scatter(axes: Axes, places: Places, label: str) -> None:
    if places:
        axes.scatter(*zip(*places.values(), strict=True), **_TRIED.scatter, label=label, zorder=3)


def _named(result: SearchResult) -> dict[str, tuple[int, dict[str, Any]]]:
    """Return the number and the marker style of each named configuration in the legend."""
    default = {"marker": "s", "s": 110, "facecolors": "none", "edgecolors": _FRONT.color, "linewidths": 1.6}
    chosen = {"marker": "*", "s": 120, "color": _CHOSEN.color, "edgecolors": "white", "linewidths": 0.7}
    found = {"default": (result.default, default), "chosen": (result.chosen, chosen)}
    return {name: (number, look) for name, (number, look) in found.items() if number is not None}


def _mark(axes: Axes, result: SearchResult, places: Places) -> None:
    """Mark the default with a square around its point, and the chosen configuration with a star."""
    for name, (number, look) in _named(result).items():
        axes.scatter(*places[number], **look, label=f"{name} (no. {number})", zorder=4)


def _steps(axes: Axes, result: SearchResult, numbers: list[int], values: list[float], label: str | None) -> None:
    """Draw a step line; each value holds from its number on, the last one to the last configuration."""
    if numbers:
        across, up = [*numbers, result.configurations[-1].number], [*values, values[-1]]
        axes.step(across, up, where="post", color=_FRONT.color, label=label)


def _mark_ended(axes: Axes, result: SearchResult, place: Callable[[Configuration], float]) -> None:
    """Mark configurations without scores at the bottom."""
    for state, marker in _ENDED.items():
        places = [place(item) for item in result.configurations if item.avg is None and item.state == state]
        if places:
            heights = [0.03] * len(places)
            look: dict[str, Any] = {"color": plots.FAINT, "marker": marker, "s": 32, "label": state, "clip_on": False}
            axes.scatter(places, heights, transform=axes.get_xaxis_transform(), **look)


def _staircase(axes: Axes, best: tuple[Point, ...]) -> None:
    """Draw the edge of the area that the front dominates, out to the borders of the axes."""
    if not best:
        return
    left, low = axes.get_xlim()[0], axes.get_ylim()[0]
    rising = sorted(best, key=lambda point: point.target)
    across = [left, *(100 * point.target for point in rising), 100 * rising[-1].target]
    up = [100 * rising[0].source, *(100 * point.source for point in rising), low]
    axes.fill_between(across, up, low, step="pre", color=_FRONT.color, alpha=0.07, linewidth=0)
    axes.step(across, up, where="pre", color=_FRONT.color, label=f"front ({len(best)})", zorder=2)
    axes.set(xlim=(left, axes.get_xlim()[1]), ylim=(low, axes.get_ylim()[1]))


def _number_apart(axes: Axes, places: Places) -> None:
    """Write each number next to its point of the front, unless it would overlap another number."""
    to_axes = (axes.transData + axes.transAxes.inverted()).transform
    written: list[tuple[float, float]] = []
    for number, place in places.items():
        x, y = to_axes(place)
        if all(abs(x - other) > 0.06 or abs(y - height) > 0.05 for other, height in written):
            written.append((x, y))
            axes.annotate(str(number), place, (6, 5), textcoords="offset points", fontsize=8)


def _colour_bar(axes: Axes, values: list[float]) -> Callable[[float], Any]:
    """Draw a colour bar of Avg x 100 if there are values, and return a function from value to colour."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.5 if low == high else 0.0
    scale = ScalarMappable(Normalize(low - room, high + room), plots.shades())
    if values:
        axes.figure.colorbar(scale, ax=axes, label="Avg x 100", pad=0.01, fraction=0.06, aspect=28)
    return lambda value: scale.to_rgba(value)  # type: ignore[arg-type]  # the stubs know only arrays


def _line(
    axes: Axes, result: SearchResult, item: Configuration, found: list[SearchAxis], shade: Callable[[float], Any]
) -> None:
    """Draw one configuration; without scores, the line is dotted and ends before the score axes."""
    values = {**item.hyper, "Source": item.source, result.goal: item.target}
    heights = [axis.share(values[axis.name]) for axis in found if values[axis.name] is not None or axis.choices]
    if item.avg is None:
        look: dict[str, Any] = {"color": plots.FAINT, "linestyle": "-." if item.state == "stopped" else ":"}
        label = item.state if item.state in _ENDED else None
        axes.plot(range(len(heights)), heights, **look, label=label, linewidth=1.1, zorder=1)
        return
    axes.plot(range(len(heights)), heights, color=shade(100 * item.avg), linewidth=1.4, alpha=0.9, zorder=2)
    for name, (number, mark) in _named(result).items():
        if number == item.number:
            axes.scatter(range(len(heights)), heights, **mark, label=f"{name} (no. {number})", zorder=4)


def _finish(made: Figure, result: SearchResult, more: str) -> None:
    """Add the title, and below the panels one legend for all of them."""
    made.suptitle(f"{result.label}, {more}", x=0.02, ha="left")
    entries: dict[str, Any] = {}
    for axes in made.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        made.legend(
            list(entries.values()), list(entries), loc="outside lower left", ncols=int(made.get_figwidth() / 1.35)
        )
