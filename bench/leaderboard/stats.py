"""Compute bootstrap intervals over test examples, and over seeds too if there are enough.

Every quantity of a leaderboard is computed from means over a task's examples: Source is a mean of such means, and
forgetting is a difference. Therefore a task's examples are resampled once, with the same indices for all trials. The
rest is arithmetic on the resampled means, so every difference is paired.

scipy.stats.bootstrap is not used, because each call draws its own resamples and returns one interval. It cannot share
one set of resamples among all rows and tables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

RESAMPLES = 2_000
LEVEL = 0.95
SEEDS_TO_RESAMPLE = 5  # fewer seeds cannot estimate their own spread

_DRAWS_AT_ONCE = 1_000_000  # limits the memory for a task with many examples
_GRAIN = 2.0**-30  # sums of its multiples are exact, so intervals do not depend on BLAS, threads or order
_DECIMALS = 8  # of a bound; coarser than the grain, so that a bound that is truly 0 becomes 0 and covers 0


@dataclass(frozen=True, slots=True)
class Draws:
    """A quantity as measured (``points`` [seeds]) and on every resample of the examples (``resampled``).

    ``resampled`` is [seeds, RESAMPLES]; its columns are the same resamples for every quantity.
    """

    seeds: tuple[int, ...]
    points: FloatArray
    resampled: FloatArray

    @property
    def value(self) -> float:
        """The measured quantity as the mean over seeds, rounded to remove floating-point noise."""
        return round(float(self.points.mean()), 12)

    def minus(self, other: Draws) -> Draws:
        """Return the paired difference on the seeds that both have; there may be no such seed."""
        seeds = tuple(seed for seed in self.seeds if seed in other.seeds)
        mine = [self.seeds.index(seed) for seed in seeds]
        theirs = [other.seeds.index(seed) for seed in seeds]
        return Draws(
            seeds,
            self.points[mine] - other.points[theirs],
            self.resampled[mine] - other.resampled[theirs],
        )

    def repeated(self, seeds: tuple[int, ...]) -> Draws:
        """Repeat the single measurement of a reference row for each of ``seeds``."""
        rows = [0] * len(seeds)
        return Draws(seeds, self.points[rows], self.resampled[rows])


@dataclass(frozen=True, slots=True)
class Estimate:
    """A quantity with its 95 % percentile interval, as fractions; ``value`` is the mean over ``by_seed``."""

    value: float
    low: float
    high: float
    by_seed: Mapping[int, float]

    @property
    def covers_zero(self) -> bool:
        """Whether the interval contains 0, which makes a difference a tie."""
        return self.low <= 0 <= self.high

    @property
    def half_width(self) -> float:
        """Half the width of the interval, which tables show after ±."""
        return (self.high - self.low) / 2

    @property
    def percent(self) -> str:
        """The value as tables show it: x100 with two decimals."""
        return f"{100 * self.value:z.2f}"

    @property
    def signed_percent(self) -> str:
        """The value of a difference as tables show it: x100 with its sign and two decimals."""
        return f"{100 * self.value:+z.2f}"

    @property
    def range_percent(self) -> str:
        """The lowest and the highest value of any seed, as tables show them."""
        return f"{100 * min(self.by_seed.values()):z.2f} to {100 * max(self.by_seed.values()):z.2f}"


def bounded(name: str, value: Estimate | None) -> dict[str, float | None]:
    """Return an estimate and its interval as three columns of a data frame."""
    parts = (None, None, None) if value is None else (value.value, value.low, value.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), parts, strict=True))


def resample(task: str, trials: Mapping[Key, Mapping[int, FloatArray]]) -> dict[Key, Draws]:
    """Return each trial's mean scores, as measured and on every resample of the task's examples.

    ``trials`` has the scores per example, [n] by seed, with the same n for all trials. The resamples depend only on
    the task's name and on n, so the results of different calls are paired too.
    """
    if not trials:
        return {}
    rows = np.array([scores for by_seed in trials.values() for scores in by_seed.values()], dtype=np.float64)
    grains = np.round(rows / _GRAIN)
    # in this order, because OpenBLAS's threads make the other product 20 times slower if the cores are busy
    sums = np.concatenate([drawn @ grains.T for drawn in _counts(task, rows.shape[1])])
    points, resampled = rows.mean(axis=1), np.ascontiguousarray(sums.T) * (_GRAIN / rows.shape[1])
    result, start = {}, 0
    for key, by_seed in trials.items():
        stop = start + len(by_seed)
        result[key] = Draws(tuple(by_seed), points[start:stop], resampled[start:stop])
        start = stop
    return result


def mean(parts: Sequence[Draws]) -> Draws:
    """Return the plain mean of quantities with the same seeds: Source, or Avg from Source and Target."""
    return Draws(
        parts[0].seeds,
        np.mean([part.points for part in parts], axis=0),
        np.mean([part.resampled for part in parts], axis=0),
    )


def estimate(draws: Draws) -> Estimate:
    """Return the mean over seeds with its interval.

    With fewer than SEEDS_TO_RESAMPLE seeds, the interval covers test sampling only and holds the trainings fixed.
    With at least that many, each resample also draws trainings with replacement, the same for every quantity.
    """
    if len(draws.seeds) >= SEEDS_TO_RESAMPLE:
        resampled = (_seed_weights(len(draws.seeds)) * draws.resampled).sum(axis=0)
    else:
        resampled = draws.resampled.mean(axis=0)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail]).round(_DECIMALS).tolist()
    by_seed = dict(zip(draws.seeds, draws.points.tolist(), strict=True))
    return Estimate(draws.value, low, high, by_seed)


def smallest_resolvable(differences: Iterable[Estimate]) -> float | None:
    """Return the smallest difference that a table can resolve: the median paired half-width.

    A difference larger than its own half-width has an interval that excludes 0 (up to the interval's skew). So a
    typical pair of methods is a tie if its difference is smaller than this, even if one method is truly better. Pairs
    that score the same on every example have no width, so they are left out. If no pair is left, return None.
    """
    widths = [difference.half_width for difference in differences if difference.half_width]
    return median(widths) if widths else None


def _counts(task: str, count: int) -> Iterator[FloatArray]:
    """Yield how often each resample draws each example, in blocks of [resamples, n]."""
    generator = _generator(f"examples of {task}: {count}")
    rows = max(1, _DRAWS_AT_ONCE // count)
    for start in range(0, RESAMPLES, rows):
        size = min(rows, RESAMPLES - start)
        drawn = generator.integers(count, size=(size, count))
        drawn += count * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)


def _seed_weights(count: int) -> FloatArray:
    """Return each seed's share in each resample of the seeds, [seeds, RESAMPLES]."""
    drawn = _generator(f"seeds: {count}").integers(count, size=(RESAMPLES, count))
    return np.stack([(drawn == seed).mean(axis=1) for seed in range(count)])


def _generator(text: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))
