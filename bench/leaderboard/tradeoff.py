"""Draw trade-off curves, which scale every row's change back, and compare rows at equal Target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.leaderboard import plots
from bench.leaderboard.environments import BySeed, against, described, merged
from bench.leaderboard.from_store import environments_of, scores_by_task
from bench.leaderboard.notes import FOREIGN
from bench.leaderboard.scatter import gid_of
from bench.leaderboard.stats import Draws, Estimate, FloatArray, bounded, estimate, mean, resample
from bench.plan.baselines import curve
from bench.plan.chance import counted
from bench.plan.plan import Plan
from bench.plan.row_key import RowKey
from bench.plugins.registry import BASELINE
from bench.store.run_folder import Store
from bench.values.job import Job

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = "curves"


@dataclass(frozen=True, slots=True)
class Curve:
    """A row's Source and Target by strength, from the base model (0) to the row itself (1).

    ``environments`` has the environment fields of its points that matter for comparisons, by seed.
    """

    key: RowKey
    target: str
    source: Mapping[float, Draws]
    learnt: Mapping[float, Draws]
    environments: BySeed = field(default_factory=dict)

    @property
    def highest(self) -> float:
        """The highest Target on the curve."""
        return max(draws.value for draws in self.learnt.values())

    def source_at(self, level: Draws) -> Draws:
        """Return the highest Source on the curve at which Target is at least ``level``.

        The curve is linear between its points. Each resample is computed separately, because a measured level changes
        with the examples, as the curve does.
        """
        order = sorted(self.source)
        source, learnt = [self.source[x] for x in order], [self.learnt[x] for x in order]
        points = _best([draws.points for draws in source], [draws.points for draws in learnt], level.points)
        drawn = _best([draws.resampled for draws in source], [draws.resampled for draws in learnt], level.resampled)
        return Draws(source[0].seeds, points, drawn)


def _best(source: Sequence[FloatArray], learnt: Sequence[FloatArray], level: FloatArray) -> FloatArray:
    """Return the highest Source at a Target of ``level`` or more, else that at the highest Target."""
    s, t = np.stack(source), np.stack(learnt)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (level - t[:-1]) / (t[1:] - t[:-1])
        crossed = np.where((t[:-1] - level) * (t[1:] - level) < 0, s[:-1] + share * (s[1:] - s[:-1]), -np.inf)
    reached = np.concatenate([np.where(t >= level, s, -np.inf), crossed]).max(axis=0)
    last = np.take_along_axis(s, t.argmax(axis=0)[None], axis=0)[0]
    result: FloatArray = np.where(np.isfinite(reached), reached, last)
    return result


def read(plan: Plan, store: Store) -> tuple[Curve, ...]:
    """Return the curves of those rows of a plan whose points are all measured."""
    rows: dict[tuple[RowKey, str], dict[int, dict[float, Job]]] = {}
    for cell in plan.cells:
        trial = cell.trial
        if not cell.key.control and trial.rank is not None and trial.target is not None:
            points = curve(plan.request, cell)
            if not points:
                continue
            base = Job(plan.zero_shot, next(iter(points.values())).asked)
            rows.setdefault((cell.key, trial.target), {})[trial.seed] = {0.0: base, **points}
    sources = counted(plan.request, store.read(plan.zero_shot), plan.asked[None]).names
    found = (_curve(row, by_seed, sources, store) for row, by_seed in rows.items())
    return tuple(item for item in found if item is not None)


def _curve(
    row: tuple[RowKey, str], by_seed: Mapping[int, Mapping[float, Job]], sources: Sequence[str], store: Store
) -> Curve | None:
    key, target = row
    strengths = list(next(iter(by_seed.values())))
    scores: dict[str, dict[float, dict[int, FloatArray]]] = {}
    for seed, points in by_seed.items():
        for strength, job in points.items():
            record = store.read(job.trial)
            if record is None or record.lacks(job.asked):
                return None
            primary, _, _ = scores_by_task(record, store, job.asked)
            for task, values in primary.items():
                scores.setdefault(task, {}).setdefault(strength, {})[seed] = values
    drawn = {task: resample(task, held) for task, held in scores.items()}
    source = {strength: mean([drawn[task][strength] for task in sources]) for strength in strengths}
    learnt = {strength: drawn[target][strength] for strength in strengths}
    environments = {
        seed: merged(environments_of(job.trial, store.read, job.asked) for job in points.values())
        for seed, points in by_seed.items()
    }
    return Curve(key, target, source, learnt, environments)


def write(curves: Sequence[Curve], folder: Path, looks: Mapping[RowKey, Mapping[str, Any]]) -> list[Path]:
    """Save a figure per target and rank with its numbers as CSV; return the paths of the figures.

    ``looks`` has the keywords for the line of each row (``bench.leaderboard.scatter.looks``).
    """
    written: list[Path] = []
    for (target, rank), here in _tables(curves):
        with plots.style():
            figure = plots.figure(7, 4.6)
            axes = figure.subplots()
            strengths = ", ".join(f"{strength:g}" for strength in sorted(here[0].source))
            _draw(axes, here, looks, f"{target}, rank {rank}: every change scaled by {strengths}")
            written += plots.save(figure, folder, figure_name(target, rank))
        plots.save_data(_frame(here), folder, figure_name(target, rank))
    return written


def figure_name(target: str, rank: int | None) -> str:
    """Return the name of the files with the curves of a target and rank."""
    return f"{target}-r{rank}"


def _tables(curves: Sequence[Curve]) -> Iterator[tuple[tuple[str, int | None], list[Curve]]]:
    """Yield the curves of each target and rank."""
    for place in dict.fromkeys((item.target, item.key.rank) for item in curves):
        yield place, [item for item in curves if (item.target, item.key.rank) == place]


def _draw(axes: Axes, curves: Sequence[Curve], looks: Mapping[RowKey, Mapping[str, Any]], title: str) -> None:
    for item in curves:
        look = looks[item.key]
        order = sorted(item.source)
        x, y = ([100 * part[strength].value for strength in order] for part in (item.learnt, item.source))
        dashed = "--" if item.key.variant else "-"
        (line,) = axes.plot(x, y, dashed, label=item.key.name, alpha=0.9, **look)
        bounds = [estimate(item.source[strength]) for strength in order]
        low, high = [100 * value.low for value in bounds], [100 * value.high for value in bounds]
        band = axes.fill_between(x, low, high, color=look["color"], alpha=0.1, linewidth=0)
        for artist in (line, band):
            artist.set_gid(gid_of(item.key))
    axes.plot([x[0]], [y[0]], marker="o", markersize=9, color=plots.INK, linestyle="none", label="base model")
    axes.set(xlabel="Target (x100); right and up is better", ylabel="Source (x100), bands: 95 %", title=title)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _frame(curves: Sequence[Curve]) -> pd.DataFrame:
    lines = [
        {
            "row": item.key.name,
            "rank": item.key.rank,
            "strength": strength,
            **bounded("source", estimate(item.source[strength])),
            **bounded("target", estimate(item.learnt[strength])),
        }
        for item in curves
        for strength in sorted(item.source)
    ]
    return pd.DataFrame(lines)


def lines(curves: Sequence[Curve], *, mixed: bool = False) -> Iterator[str]:
    """Yield a text table per target and rank that compares the rows at equal Target.

    It shows every row's Source at a Target that all rows reach. It also shows the row's Source and LoRA's Source at
    the row's own Target. A difference between environments is not judged, unless ``mixed`` is true.
    """
    for (target, rank), here in _tables(curves):
        lowest = min(here, key=lambda item: item.highest)
        level = max(lowest.learnt.values(), key=lambda draws: draws.value)
        width = max(len(item.key.name) for item in here)
        yield ""
        yield f"{target}, rank {rank}: Source at equal Target, on the curves of --rewind"
        head = f"at {100 * level.value:6.2f}, which all reach   at its own Target   {BASELINE} there   difference"
        yield f" {'':{width}}  {head}"
        base = next((item for item in here if item.key.name == BASELINE), None)
        for item in here:
            text = f" {item.key.name:{width}}  {_number(estimate(item.source_at(level))):>26}"
            yield f"{text}   {_beside(item, base, mixed=mixed)}".rstrip()
        yield from (f"{FOREIGN} {item.key.name}: {reason}" for item in here if (reason := _foreign(item, base)))
    yield "=: the interval covers 0. Scores are x100. A curve is linear between two strengths."


def _foreign(item: Curve, base: Curve | None) -> str:
    """Return how a row's environments differ from the baseline's, or "" if they do not differ."""
    return "" if base is None else described(against(item.environments, [(base.key.name, base.environments)]))


def _beside(item: Curve, base: Curve | None, *, mixed: bool) -> str:
    """Return a row's Target and Source, and the baseline's Source at that Target or "not reached"."""
    own, source = item.learnt[1.0], item.source[1.0]
    text = f"{100 * own.value:6.2f}: {_number(estimate(source))}"
    if base is None or base is item:
        return text
    if own.value > base.highest:
        return f"{text}   not reached"
    there = base.source_at(own)
    gap = estimate(source.minus(there))
    mark = "=" if gap.covers_zero else " "
    mark = mark if mixed or not _foreign(item, base) else FOREIGN
    difference = f"{gap.signed_percent}{mark} ±{100 * gap.half_width:.2f}"
    return f"{text}   {estimate(there).percent:>{len(BASELINE) + 6}}   {difference}"


def _number(value: Estimate) -> str:
    return f"{value.percent:>6} ±{100 * value.half_width:.2f}"
