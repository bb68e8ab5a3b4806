from math import sqrt
from typing import Literal

import numpy as np
import pytest
from scipy.stats import binom

from bench.leaderboard.marks import mark
from bench.leaderboard.stats import estimate, resample
from tests.making.simulation import SEEDS, SPREADS, World, coverage, false_marks, power, unequal

pytestmark = pytest.mark.slow

TABLES = 150


def noise(share: float, count: int) -> float:
    """Return two standard errors of a share."""
    return 2 * sqrt(share * (1 - share) / count)


@pytest.mark.parametrize("redrawn", [0.01, 0.03, 0.1])
def test_with_one_seed_seven_equal_rows_are_told_apart_in_at_most_7_percent_each(redrawn: float) -> None:
    wrong = false_marks(World(redrawn=redrawn), TABLES)

    assert wrong.per_row <= 0.07 + noise(0.07, TABLES)
    assert wrong.per_table <= 0.25 + noise(0.25, TABLES)


@pytest.mark.parametrize("redrawn", [0.01, 0.03, 0.1])
def test_with_one_seed_a_lead_of_4_points_is_seen(redrawn: float) -> None:
    assert power(World(redrawn=redrawn, lead=4.0), TABLES) > 0.85 - noise(0.85, TABLES)


@pytest.mark.parametrize("of", ["mean", "difference"])
@pytest.mark.parametrize("spread", SPREADS)
def test_intervals_over_several_seeds_cover_the_truth(spread: float, of: Literal["mean", "difference"]) -> None:
    found = [coverage(World(seeds=seeds, spreads=(spread,)), of, 400) for seeds in SEEDS]

    assert min(found) >= 0.93 - noise(0.93, 400)
    assert sum(found) / len(found) <= 0.995 + noise(0.995, 400 * len(found))  # 400 alone could not exceed a bound


@pytest.mark.parametrize("spread", SPREADS)
def test_over_several_seeds_equal_rows_are_rarely_told_apart(spread: float) -> None:
    for seeds in SEEDS:
        world = World(seeds=seeds, spreads=(spread,))

        assert false_marks(world, TABLES).per_row <= 0.07 + noise(0.07, TABLES)
        assert false_marks(unequal(world), TABLES).per_row <= 0.12 + noise(0.12, TABLES)


def test_more_seeds_see_more() -> None:
    two, five = (power(World(seeds=seeds, spreads=(1.0,), lead=2.0), TABLES) for seeds in (2, 5))

    assert five > two + 0.1


@pytest.mark.parametrize("count", [20, 50, 100, 400])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.98, 0.995])
def test_the_interval_of_a_proportion_covers_95_percent_by_exact_sum(share: float, count: int) -> None:
    right = np.arange(count + 1)
    rows = {int(k): {0: (np.arange(count) < k).astype(float)} for k in right}
    found = {k: estimate(draws) for k, draws in resample("gqa", rows).items()}

    covered = [k for k, interval in found.items() if interval.low <= share <= interval.high]

    assert binom.pmf(covered, count, share).sum() >= 0.95


def test_the_highest_of_equal_rows_is_as_much_too_high_as_the_table_says() -> None:
    world = World(redrawn=0.1)
    said = [100 * mark(dict(enumerate(rows))).too_high for rows in world.tables(TABLES)]

    assert np.mean(said) == pytest.approx(false_marks(world, TABLES).too_high, abs=0.35)
