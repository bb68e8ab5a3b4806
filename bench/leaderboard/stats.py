"""Compute intervals over test examples, and over trainings too if a row has several seeds.

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
from functools import cache, cached_property
from math import hypot, sqrt
from statistics import median
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, stdtrit
from threadpoolctl import ThreadpoolController

FloatArray = npt.NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

RESAMPLES = 2_000
LEVEL = 0.95
SEEDS_ADVISED = 5  # with fewer seeds, an interval is as wide as Student's factor makes it: 12.7 for two, 4.3 for three

_TAIL = (1 - LEVEL) / 2
_FEW = 100  # examples; a task with fewer can score the same on all of them by chance
_DRAWS_AT_ONCE = 1_000_000  # limits the memory for a task with many examples
_BYTE = 255
_GRAIN = 2.0**-30  # sums of its multiples are exact, so intervals do not depend on BLAS, threads or order
_DECIMALS = 8  # of a bound; coarser than the grain, so that a bound that is truly 0 becomes 0 and covers 0


@dataclass(frozen=True)
class Draws:
    """A quantity as measured (``points`` [seeds]) and on every resample of the examples (``resampled``).

    ``resampled`` is [seeds, RESAMPLES]; its columns are the same resamples for every quantity. ``least`` is the
    half-width of an interval whose resamples are all equal; it is 0 from 100 examples on. ``count`` is the number of
    examples if every score of them is 0 or 1, so that the quantity is a proportion, and else None.
    """

    seeds: tuple[int, ...]
    points: FloatArray
    resampled: FloatArray
    least: float = 0.0
    count: int | None = None

    @property
    def value(self) -> float:
        """The measured quantity as the mean over seeds, rounded to remove floating-point noise."""
        return round(self._mean, 12)

    @property
    def centred(self) -> FloatArray:
        """How far the mean over seeds is from the measured one on every resample, [RESAMPLES]."""
        away: FloatArray = self.together - self._mean
        return away

    @cached_property
    def together(self) -> FloatArray:
        """The mean over seeds on every resample, [RESAMPLES]."""
        middle: FloatArray = self.resampled.mean(axis=0)
        return middle

    @property
    def squares(self) -> float:
        """The sum of squares of the seeds around their mean; divided by seeds - 1, it is their variance."""
        away = self.points - self._mean
        return float(np.add.reduce(away * away))

    @cached_property
    def _mean(self) -> float:
        return float(np.add.reduce(self.points)) / len(self.points)  # a third of the time of ``points.mean()``

    @property
    def squares_of_answers(self) -> float:
        """The part of ``squares`` that is expected if the trainings are equally good and only their answers differ."""
        return float((self.resampled - self.together).var(axis=1).sum())

    def minus(self, other: Draws) -> Draws:
        """Return the paired difference on the seeds that both have; there may be no such seed."""
        seeds = tuple(seed for seed in self.seeds if seed in other.seeds)
        mine = [self.seeds.index(seed) for seed in seeds]
        theirs = [other.seeds.index(seed) for seed in seeds]
        return Draws(
            seeds,
            self.points[mine] - other.points[theirs],
            self.resampled[mine] - other.resampled[theirs],
            max(self.least, other.least),
        )

    def repeated(self, seeds: tuple[int, ...]) -> Draws:
        """Repeat the single measurement of a reference row for each of ``seeds``."""
        rows = [0] * len(seeds)
        return Draws(seeds, self.points[rows], self.resampled[rows], self.least)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A quantity with its 95 % interval, as fractions; ``value`` is the mean over ``by_seed``.

    The interval of a proportion is the only one whose sides may differ.
    """

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
        """The longer side of the interval, which tables show after ±."""
        return max(self.high - self.value, self.value - self.low)

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


class Kept:
    """How often each resample draws each example, by task and number of examples, for calls that follow each other.

    A count takes a byte, because an example is drawn once on average.
    """

    def __init__(self) -> None:
        self._blocks: dict[tuple[str, int], list[npt.NDArray[np.uint8]]] = {}

    def counts(self, task: str, count: int) -> Iterator[FloatArray]:
        """Yield what ``_counts`` yields; it is drawn once."""
        if (task, count) in self._blocks:
            for block in self._blocks[task, count]:
                yield block.astype(np.float64)
            return
        drawn, small = list[npt.NDArray[np.uint8]](), True
        for each in _counts(task, count):
            small = small and each.max() <= _BYTE
            drawn.append(each.astype(np.uint8))
            yield each
        if small:
            self._blocks[task, count] = drawn


def resample(task: str, trials: Mapping[Key, Mapping[int, FloatArray]], kept: Kept | None = None) -> dict[Key, Draws]:
    """Return each trial's mean scores, as measured and on every resample of the task's examples.

    ``trials`` has the scores per example, [n] by seed, with the same n for all trials. The resamples depend only on
    the task's name and on n, so the results of different calls are paired too. With ``kept`` they are drawn once.
    """
    if not trials:
        return {}
    rows = np.array([scores for by_seed in trials.values() for scores in by_seed.values()], dtype=np.float64)
    grains, count = np.round(rows / _GRAIN), rows.shape[1]
    with _blas().limit(limits=1, user_api="blas"):  # more threads only wait for each other in products of this size
        sums = np.concatenate([drawn @ grains.T for drawn in (kept or Kept()).counts(task, count)])
    points, resampled = rows.mean(axis=1), np.ascontiguousarray(sums.T) * (_GRAIN / count)
    least = 1 - _TAIL ** (1 / count) if count < _FEW else 0.0
    result, start = {}, 0
    for key, by_seed in trials.items():
        stop = start + len(by_seed)
        binary = count if bool(np.isin(rows[start:stop], (0, 1)).all()) else None
        result[key] = Draws(tuple(by_seed), points[start:stop], resampled[start:stop], least, binary)
        start = stop
    return result


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def mean(parts: Sequence[Draws]) -> Draws:
    """Return the plain mean of quantities with the same seeds: Source, or Avg from Source and Target."""
    return Draws(
        parts[0].seeds,
        np.mean([part.points for part in parts], axis=0),
        np.mean([part.resampled for part in parts], axis=0),
        sum(part.least for part in parts) / len(parts),
    )


def estimate(draws: Draws) -> Estimate:
    """Return the mean over seeds with its 95 % interval.

    With one seed, the interval holds the training fixed and covers test sampling only: Clopper and Pearson's for a
    proportion, else the longer side of the bootstrap's percentile interval to both sides.

    With k seeds, it also covers training noise. Let s be the standard deviation of the seeds and t Student's factor
    with k - 1 degrees of freedom. A side is the longer of t s / sqrt(k) and sqrt(e^2 + t^2 u^2 / k). Here e is the
    side over the examples, and u^2 is s^2 minus the variance that the trainings' different answers explain, which e
    covers already.
    """
    below, above = _with_seeds(_over_examples(draws), draws)
    low, high = draws.value - below, draws.value + above
    if draws.count is not None:
        low, high = max(0.0, low), min(1.0, high)
    by_seed = dict(zip(draws.seeds, draws.points.tolist(), strict=True))
    return Estimate(draws.value, round(low, _DECIMALS), round(high, _DECIMALS), by_seed)


def smallest_resolvable(differences: Iterable[Estimate]) -> float | None:
    """Return the smallest difference that a table can resolve: the median paired half-width.

    A difference is a tie exactly if it is smaller than its own half-width. So a typical pair of methods is a tie if
    its difference is smaller than this, even if one method is truly better. Pairs that score the same on every
    example have no width, so they are left out. If no pair is left, return None.
    """
    widths = [difference.half_width for difference in differences if difference.half_width]
    return median(widths) if widths else None


def generator(text: str) -> np.random.Generator:
    """Return a generator of random numbers that depends on the text alone."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


def _over_examples(draws: Draws) -> tuple[float, float]:
    """Return how far the interval over the examples reaches below and above the value."""
    value = draws.value
    if draws.count is not None:
        right, wrong = value * draws.count, (1 - value) * draws.count
        low = betaincinv(right, wrong + 1, _TAIL) if right else 0.0
        high = betaincinv(right + 1, wrong, 1 - _TAIL) if wrong else 1.0
        return value - float(low), float(high) - value
    low, high = _quantiles(draws.together, (_TAIL, 1 - _TAIL))
    side = round(max(value - low, high - value, 0.0), _DECIMALS) or draws.least
    return side, side


def _quantiles(values: FloatArray, shares: tuple[float, float]) -> tuple[float, float]:
    """Return two quantiles of some values [n], as ``np.quantile`` does, which takes five times as long."""
    places = [share * (len(values) - 1) for share in shares]
    whole = [int(place) for place in places]
    parted = np.partition(values, sorted({place + step for place in whole for step in (0, 1)}))
    low, high = (
        _between(float(parted[at]), float(parted[at + 1]), place - at) for at, place in zip(whole, places, strict=True)
    )
    return low, high


def _between(one: float, other: float, share: float) -> float:
    """Return the value at a share of the way from one to the other, rounded as in numpy."""
    return other - (other - one) * (1 - share) if share >= 0.5 else one + (other - one) * share


def _with_seeds(sides: tuple[float, float], draws: Draws) -> tuple[float, float]:
    """Return both sides of an interval over examples after adding the noise between the trainings."""
    count = len(draws.seeds)
    if count == 1:
        return sides
    student = float(stdtrit(count - 1, 1 - _TAIL))
    factor = student / sqrt(count * (count - 1))
    squares = draws.squares
    unexplained = max(0.0, squares - draws.squares_of_answers)
    below, above = (max(factor * sqrt(squares), hypot(side, factor * sqrt(unexplained))) for side in sides)
    return below, above


def _counts(task: str, count: int) -> Iterator[FloatArray]:
    """Yield how often each resample draws each example, in blocks of [resamples, n]."""
    random = generator(f"examples of {task}: {count}")
    rows = max(1, _DRAWS_AT_ONCE // count)
    for start in range(0, RESAMPLES, rows):
        size = min(rows, RESAMPLES - start)
        drawn = random.integers(count, size=(size, count))
        drawn += count * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)
