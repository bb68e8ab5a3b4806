"""Decide which rows of a block are told apart from its highest row.

The highest row is the highest of several, so its lead over another row must exceed the lead that the highest of equal
rows reaches by chance. This is Hsu's comparison with the best (Annals of Statistics 9, 1981), with the bootstrap's
noise in place of the normal distribution.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import Generic, TypeVar

import numpy as np

from bench.leaderboard.stats import LEVEL, RESAMPLES, Draws, FloatArray, generator

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Marks(Generic[Key]):
    """The rows that are highest in a column of a block, and those that are tied with the highest.

    ``too_high`` is how much the highest number of rows that are all equal exceeds the truth on average, as a fraction.
    """

    best: frozenset[Key] = frozenset()
    tied: frozenset[Key] = frozenset()
    too_high: float = 0.0


def mark(rows: Mapping[Key, Draws]) -> Marks[Key]:
    """Compare each row with the highest, at a level of 5 % per row.

    Let x be the rows' values and d their noise. Row i is told apart if max(x) - x_i exceeds the 95 % quantile of
    max(d) - d_i. Over the test examples, d is the centred bootstrap, with the same resamples for all rows, so that
    examples on which rows agree cancel. Over k seeds, d is s T / sqrt(k) with Student's T. The standard deviation s
    and its degrees of freedom are pooled over the rows, because a few seeds of one row say little about its own. The
    larger of the two quantiles counts.
    """
    drawn = list(rows.values())
    values = np.array([row.value for row in drawn])
    noises = [np.stack([row.centred for row in drawn])]
    freedom = sum(len(row.seeds) - 1 for row in drawn)
    if freedom:
        spread = sqrt(sum(row.squares for row in drawn) / freedom)
        seeds = np.array([len(row.seeds) for row in drawn])
        noises.append(_student(len(drawn), freedom) * (spread / np.sqrt(seeds))[:, None])
    leads = np.max([np.quantile(noise.max(axis=0) - noise, LEVEL, axis=1) for noise in noises], axis=0)
    leads = np.where(leads > 0, leads, max(row.least for row in drawn))
    highest = values.max()
    best = frozenset(key for key, value in zip(rows, values, strict=True) if value == highest)
    near = {key for key, gap, lead in zip(rows, highest - values, leads, strict=True) if gap <= lead}
    return Marks(best, frozenset(near - best), max(0.0, *(float(noise.max(axis=0).mean()) for noise in noises)))


@cache
def _student(rows: int, freedom: int) -> FloatArray:
    """Return noise of Student's distribution [rows, RESAMPLES]; all rows share the error of the spread."""
    random = generator(f"trainings of {rows} rows: {freedom}")
    spread = np.sqrt(random.chisquare(freedom, RESAMPLES) / freedom)
    drawn: FloatArray = random.standard_normal((rows, RESAMPLES)) / spread
    return drawn
