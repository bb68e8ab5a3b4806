"""Measure the rows of a block on the scores of their seeds and on every resample of the examples.

The resamples are those of the leaderboard: one set for each task, shared by all rows and stages. So a difference
between two stages, two rows or two orders is paired by example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from bench.leaderboard.stats import RESAMPLES, Draws, FloatArray, mean, resample
from bench.sequences import metrics
from bench.sequences.grouping import FORMS, RowChains

Columns = Mapping[str, Draws]
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Measured:
    """A row of an order with its columns, and what it scores after each stage, by task and by source.

    ``source`` is the mean of the sources that count after each stage, or None where one of them was not scored.
    """

    row: RowChains
    order: tuple[str, ...]
    sources: tuple[str, ...]
    columns: Columns
    stages: tuple[Columns, ...]
    source: tuple[Draws | None, ...]

    @property
    def reference(self) -> bool:
        """Whether this is the untouched base model."""
        return self.row.key.rank is None


@dataclass(frozen=True, slots=True)
class _Read:
    """What metrics read: ``scores`` [..., T, T], ``zero_shot`` [..., T], and those of tasks learnt alone, [..., T]."""

    scores: FloatArray
    zero_shot: FloatArray
    single: FloatArray


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a sequence: its column, how it is computed, and the slice of the tasks of whose terms it is a mean.

    If it ``falls``, lower is better. If ``relative``, it needs the scores of the tasks that are learnt alone.
    """

    column: str
    compute: Callable[[_Read], FloatArray]
    over: tuple[int, int | None] = (0, None)
    falls: bool = False
    relative: bool = False


_UNSETTLED = 1 / 40  # of the resamples may have no value
_EARLIER, _LATER = (0, -1), (1, None)  # the tasks but the last, and but the first

METRICS = (
    Metric("ap", lambda read: metrics.average(read.scores)),
    Metric("apn", lambda read: metrics.relative_average(read.scores, read.single), relative=True),
    Metric("map", lambda read: metrics.mean_average(read.scores)),
    Metric("bwt", lambda read: metrics.backward_transfer(read.scores), _EARLIER),
    Metric("forgetting", lambda read: metrics.forgetting(read.scores), _EARLIER, falls=True),
    Metric("fwt", lambda read: metrics.forward_transfer(read.scores, read.zero_shot), _LATER),
    Metric("transfer", lambda read: metrics.transfer(read.scores), _LATER),
    Metric("learning", lambda read: metrics.learning(read.scores)),
    Metric("intransigence", lambda read: metrics.intransigence(read.scores, read.single), falls=True, relative=True),
)
FALLING = frozenset(metric.column for metric in METRICS if metric.falls)


def measured_rows(
    rows: Sequence[RowChains], order: tuple[str, ...], sources: Sequence[str], counted: Sequence[str]
) -> list[Measured]:
    """Return the rows of a block, of which the base model may be one, with every column that can be measured.

    A row with a stage that failed or did not run has no columns, only the scores after its other stages.
    """
    drawn = _resampled(rows, dict.fromkeys((*order, *sources)))
    zero_shot = next((drawn[at].get(0, {}) for at, row in enumerate(rows) if row.key.rank is None), {})
    apart = next((drawn[at] for at, row in enumerate(rows) if row.apart), {})
    single = {task: apart[at][task] for at, task in enumerate(order) if task in apart.get(at, {})}
    found = []
    for row, by_stage in zip(rows, drawn, strict=True):
        stages = tuple(by_stage.get(stage, {}) for stage in range(len(row.counted[0].stages) if row.counted else 0))
        if row.joint:  # the stages before the last are missing
            stages = (*[{}] * (len(order) - 1), *stages)
        one = Measured(row, order, tuple(sources), {}, stages, tuple(average_of(each, counted) for each in stages))
        whole = {"ap": average_of(zero_shot, order)} if one.reference else measure(order, stages, zero_shot, single)
        last = one.source[-1] if stages else None
        others = {
            "source": last,
            "source_lost": None if one.reference else _lost(average_of(zero_shot, counted), last),
            "mif": average_of(by_stage.get(FORMS, {}), order),
        }
        columns = _known({**whole, **others}) if row.finished else {}
        found.append(replace(one, columns=_exact(columns) if row.apart else columns))
    return found


def measure(order: Sequence[str], stages: Sequence[Columns], zero_shot: Columns, single: Columns) -> dict[str, Draws]:
    """Return the metrics of a row by column; one that reads a score that is missing is absent.

    ``stages`` are the scores after each stage, all of the same seeds. ``single`` may have other seeds; a metric that
    reads it is measured on the seeds that both have.
    """
    return _known({each.column: _measured(each, order, stages, zero_shot, single) for each in METRICS})


def average_of(columns: Mapping[Key, Draws], names: Iterable[Key]) -> Draws | None:
    """Return the plain mean of some columns; None if one is missing, or if there are none."""
    wanted = list(names)
    return mean([columns[name] for name in wanted]) if wanted and all(name in columns for name in wanted) else None


def only(draws: Draws | None, seeds: Sequence[int]) -> Draws | None:
    """Return a quantity on some of its seeds; None if it lacks one."""
    if draws is None or not set(seeds) <= set(draws.seeds):
        return None
    rows = [draws.seeds.index(seed) for seed in seeds]
    return Draws(tuple(seeds), draws.points[rows], draws.resampled[rows], draws.least, draws.count)


def _resampled(rows: Sequence[RowChains], tasks: Iterable[str]) -> list[dict[int, dict[str, Draws]]]:
    """Return every row's resampled scores by stage and task; a stage that some seed lacks is absent."""
    drawn: list[dict[int, dict[str, Draws]]] = [{} for _ in rows]
    for task in tasks:
        held = {(at, stage): scores for at, row in enumerate(rows) for stage, scores in row.scores(task)}
        for (at, stage), found in resample(task, held).items():
            drawn[at].setdefault(stage, {})[task] = found
    return drawn


def _measured(
    metric: Metric, order: Sequence[str], stages: Sequence[Columns], zero_shot: Columns, single: Columns
) -> Draws | None:
    seeds = next((draws.seeds for scores in stages for draws in scores.values()), ())
    if metric.relative:
        alone = set(seeds).intersection(*(draws.seeds for draws in single.values())) if single else set()
        seeds = tuple(seed for seed in seeds if seed in alone)
    if not seeds:
        return None
    parts = [[only(scores.get(task), seeds) for task in order] for scores in stages]
    untouched = [zero_shot[task].repeated(seeds) if task in zero_shot else None for task in order]
    reference = [only(single.get(task), seeds) for task in order]
    points, resampled = (
        metric.compute(
            _Read(
                np.stack([_stacked(row, len(seeds), width) for row in parts], axis=-2),
                _stacked(untouched, len(seeds), width),
                _stacked(reference, len(seeds), width),
            )
        )
        for width in (0, RESAMPLES)
    )
    settled = _settled(resampled)
    if settled is None or not np.isfinite(points).all():
        return None
    leasts = [max((draws.least for draws in column if draws), default=0.0) for column in zip(*parts, strict=True)]
    return Draws(seeds, points, settled, float(np.mean(leasts[slice(*metric.over)])))


def _settled(resampled: FloatArray) -> FloatArray | None:
    """Return resampled values [seeds, n] without those that are not finite; None if a seed has too many.

    A ratio has no value on a resample on which its divisor is 0. It would be large there, so it gets the seed's largest
    value. Up to a fortieth of the resamples may be such: that is the tail that an interval of 95 % leaves out anyway.
    """
    finite = np.isfinite(resampled)
    if (1 - finite.mean(axis=-1) > _UNSETTLED).any():
        return None
    return np.where(finite, resampled, np.where(finite, resampled, -np.inf).max(axis=-1, keepdims=True))


def _stacked(draws: Sequence[Draws | None], seeds: int, width: int) -> FloatArray:
    """Return quantities as one array [seeds, n], or [seeds, width, n] of their resamples; NaN for None."""
    hole = np.full((seeds, width) if width else (seeds,), np.nan)
    parts = [hole if each is None else each.resampled if width else each.points for each in draws]
    return np.stack(parts, axis=-1)


def _lost(zero_shot: Draws | None, source: Draws | None) -> Draws | None:
    """Return how far Source is below that of the base model."""
    if zero_shot is None or source is None:
        return None
    return zero_shot.repeated(source.seeds).minus(source)


def _exact(columns: Columns) -> Columns:
    """Return the columns of tasks that are learnt apart; a change between two stages is 0 by design, and no chance."""
    fixed = ("apn", "bwt", "forgetting", "intransigence")
    return {name: replace(draws, least=0.0) if name in fixed else draws for name, draws in columns.items()}


def _known(columns: Mapping[str, Draws | None]) -> dict[str, Draws]:
    """Return the columns that could be measured."""
    return {name: draws for name, draws in columns.items() if draws is not None}
