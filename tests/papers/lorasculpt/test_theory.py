import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from bench.papers.lorasculpt import theory
from bench.papers.lorasculpt.theory import (
    Case,
    FloatArray,
    deviation_at,
    exact_deviation_at,
    exact_moments,
    expected_density,
    independent_masks,
    product_density,
    uneven_density,
    uneven_moments,
)


@pytest.mark.parametrize(("rank", "density"), [(16, 0.1485), (32, 0.2750), (64, 0.4744)])
def test_a_tenth_of_each_factor_makes_the_density_that_theorem_3_1_says(rank: int, density: float) -> None:
    assert expected_density(0.1, 0.1, rank) == pytest.approx(density, abs=5e-5)


def test_the_two_factors_may_keep_different_shares() -> None:
    assert expected_density(0.5, 0.2, 2) == pytest.approx(0.19)  # 1 - 0.9^2


def test_the_delta_of_theorem_3_2_has_the_probability_in_its_bound() -> None:
    assert deviation_at(2 * math.exp(-1), 4, 4, 1) == pytest.approx(0.5)  # 2 * 0.25 * 16 / 8 = 1
    assert deviation_at(0.05, 128, 512, 4) == pytest.approx(0.26842, abs=5e-6)  # ln 40 = 3.68888; x 2560 / 131072


def test_the_bound_of_top_k_masks_has_s_r_in_place_of_r() -> None:
    case = Case(100, 100, 10, 0.1, "top-k")

    assert exact_deviation_at(0.05, case) == pytest.approx(deviation_at(0.05, 100, 100, 1))


def test_one_kept_entry_of_two_in_each_factor_meets_the_other_half_of_the_time() -> None:
    case = Case(1, 1, 2, 0.5, "top-k")

    assert exact_moments(case).mean == pytest.approx(0.5)
    assert exact_moments(case).variance == pytest.approx(0.25)
    assert expected_density(case.density_a, case.density_b, 2) == pytest.approx(0.4375)  # 1 - 0.75^2


@pytest.mark.parametrize("mask", theory.MASKS)
@pytest.mark.parametrize("density", [0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shape", [(2, 3, 2), (1, 3, 2), (3, 1, 2), (2, 2, 1), (1, 1, 3)])
def test_mean_and_variance_are_those_over_all_masks(
    shape: tuple[int, int, int], density: float, mask: theory.Mask
) -> None:
    case = Case(*shape, density, mask)

    chances, found = zip(*every_pair(case), strict=True)
    mean = np.average(found, weights=chances)

    assert exact_moments(case).mean == pytest.approx(mean, abs=1e-12)
    assert exact_moments(case).variance == pytest.approx(np.average((found - mean) ** 2, weights=chances), abs=1e-12)


def every_pair(case: Case) -> Iterator[tuple[float, float]]:
    """Yield the chance of each pair of masks, and its density by the definition."""
    masks_b = every(case, np.repeat(case.shares_b, case.rank), case.kept_b)
    masks_a = every(case, np.tile(case.shares_a, case.rank), case.kept_a)
    for b, a in itertools.product(masks_b, masks_a):
        reached = [
            any(b[1][i * case.rank + k] and a[1][k * case.columns + j] for k in range(case.rank))
            for i, j in itertools.product(range(case.rows), range(case.columns))
        ]
        yield b[0] * a[0], sum(reached) / len(reached)


def every(case: Case, shares: FloatArray, kept: int) -> list[tuple[float, tuple[int, ...]]]:
    masks = list(itertools.product((0, 1), repeat=len(shares)))
    if case.mask == "top-k":
        return [(1.0, mask) for mask in masks if sum(mask) == kept]
    return [(float(np.prod(np.where(mask, shares, 1 - shares))), mask) for mask in masks]


def test_the_density_of_a_product_counts_what_any_kept_pair_reaches() -> None:
    b = np.array([[1, 0], [1, 1], [0, 0]], dtype=np.float32)
    a = np.array([[1, 1, 0, 0], [0, 1, 0, 1]], dtype=np.float32)

    assert product_density(b, a) == 5 / 12  # rows reach 2, 3 and 0 of 4


def test_top_k_masks_keep_the_same_count_in_every_draw_and_bernoulli_masks_do_not() -> None:
    kept_one_of_two = Case(2, 1, 1, 0.5, "top-k")

    assert set(theory.simulate(kept_one_of_two, 50, seed=0)) == {0.5}
    assert set(theory.simulate(Case(2, 1, 1, 0.5, "bernoulli"), 50, seed=0)) == {0.0, 0.5, 1.0}


def test_a_share_that_rounds_to_nothing_keeps_one_entry() -> None:
    case = Case(2, 3, 2, 0.01, "top-k")

    assert (case.kept_b, case.kept_a) == (1, 1)
    assert (case.density_b, case.density_a) == (1 / 4, 1 / 6)


def test_uneven_shares_grow_evenly_from_0_to_twice_their_mean_or_from_twice_their_mean_less_1_to_1() -> None:
    assert Case(4, 2, 1, 0.4, "uneven").shares_b == pytest.approx([0.1, 0.3, 0.5, 0.7])
    assert Case(4, 2, 1, 0.4, "uneven").shares_a == pytest.approx([0.2, 0.6])
    assert Case(4, 2, 1, 0.8, "uneven").shares_b == pytest.approx([0.65, 0.75, 0.85, 0.95])


@dataclass(frozen=True)
class Printed:
    """A line of the table of issue 11: a case, its Eq. 34, bound and sd of d, and a simulation's mean, error and sd."""

    shares_b: FloatArray
    shares_a: FloatArray
    rank: int
    mean: float
    bound: float
    deviation: float
    simulated: tuple[float, float, float]
    draws: int  # of that simulation, and of ours


LINEAR, TENTH = np.linspace(0, 0.2, 64), np.full(64, 0.1)
HAND_B, HAND_A = np.array([0.2, 0.8]), np.array([0.1, 0.5])
TABLE = {
    "by hand": Printed(HAND_B, HAND_A, 2, 0.255800, 0.277500, 0.215121, (0.256556, 0.001070, 0.213996), draws=40_000),
    "linear": Printed(LINEAR, LINEAR, 16, 0.140456, 0.148542, 0.016880, (0.140163, 0.000269, 0.017004), draws=4_000),
    "halves": Printed(
        np.repeat([0.02, 0.18], 64),
        np.repeat([0.02, 0.18], 256),
        *(64, 0.329005, 0.474404, 0.007818, (0.328862, 0.000245, 0.007755)),
        draws=1_000,
    ),
    "uniform": Printed(TENTH, TENTH, 16, 0.148542, 0.148542, 0.018995, (0.148729, 0.000303, 0.019182), draws=4_000),
}


@pytest.mark.parametrize("line", TABLE.values(), ids=TABLE)
def test_mean_bound_and_deviation_of_uneven_masks_are_the_expected_ones(line: Printed) -> None:
    moments = uneven_moments(line.shares_b, line.shares_a, line.rank)
    bound = expected_density(line.shares_a.mean(), line.shares_b.mean(), line.rank)

    assert uneven_density(line.shares_b, line.shares_a, line.rank) == moments.mean
    assert moments.mean == pytest.approx(line.mean, abs=5e-7)
    assert bound == pytest.approx(line.bound, abs=5e-7)
    assert math.sqrt(moments.variance) == pytest.approx(line.deviation, abs=5e-7)


@pytest.mark.parametrize("line", TABLE.values(), ids=TABLE)
def test_drawn_uneven_masks_agree_with_eq_34_and_with_the_expected_simulation(line: Printed) -> None:
    moments = uneven_moments(line.shares_b, line.shares_a, line.rank)
    expected, expected_error, expected_deviation = line.simulated

    found = densities_of(line.shares_b, line.shares_a, line.rank, line.draws)

    error = math.sqrt(moments.variance / line.draws)
    assert abs(found.mean() - moments.mean) < 4 * error
    assert abs(found.mean() - expected) < 4 * math.hypot(error, expected_error)
    squares = (found - found.mean()) ** 2
    spread_error = squares.std() / (2 * found.std()) / math.sqrt(line.draws)  # the error of a standard deviation
    assert abs(found.std() - line.deviation) < 4 * spread_error
    assert abs(found.std() - expected_deviation) < 4 * math.sqrt(2) * spread_error


def densities_of(shares_b: FloatArray, shares_a: FloatArray, rank: int, draws: int) -> FloatArray:
    generator = np.random.default_rng(0)
    return np.array([product_density(*independent_masks(generator, shares_b, shares_a, rank)) for _ in range(draws)])


def test_equal_shares_have_the_moments_of_bernoulli_masks() -> None:
    bernoulli, uneven = exact_moments(Case(64, 64, 16, 0.1, "bernoulli")), uneven_moments(TENTH, TENTH, 16)

    assert uneven.mean == pytest.approx(bernoulli.mean, rel=1e-12)
    assert uneven.variance == pytest.approx(bernoulli.variance, rel=1e-9)


def test_at_rank_1_only_the_mean_shares_count() -> None:
    shares_b, shares_a = np.linspace(0, 1, 64), np.linspace(0, 0.6, 64)  # 0.5 and 0.3 on average

    found = densities_of(shares_b, shares_a, 1, 1_000)

    assert uneven_density(shares_b, shares_a, 1) == pytest.approx(0.150000, abs=1e-12)
    assert uneven_density(HAND_B, HAND_A, 1) == pytest.approx(expected_density(0.3, 0.5, 1), abs=1e-12)
    assert abs(found.mean() - 0.150250) < 4 * math.hypot(0.000688, found.std() / math.sqrt(1_000))


def test_full_and_empty_rows_and_columns_leave_nothing_to_chance() -> None:
    shares = np.repeat([1.0, 0.0], [10, 90])

    moments = uneven_moments(shares, shares, 16)

    assert moments.mean == pytest.approx(0.010000, abs=1e-12)
    assert expected_density(0.1, 0.1, 16) == pytest.approx(0.148542, abs=5e-7)
    assert moments.variance == pytest.approx(0, abs=1e-24)
    assert set(densities_of(shares, shares, 16, 20)) == {0.01}


@pytest.mark.parametrize(
    ("shape", "density", "mean", "bound", "deviation"),
    [
        ((64, 64, 16), 0.1, 0.140734, 0.148542, 0.016952),
        ((128, 512, 64), 0.1, 0.399910, 0.474404, 0.009955),
        ((64, 64, 64), 0.3, 0.840506, 0.997609, None),
    ],
)
def test_the_uneven_masks_of_the_command_have_the_expected_moments(
    shape: tuple[int, int, int], density: float, mean: float, bound: float, deviation: float | None
) -> None:
    case = Case(*shape, density, "uneven")

    assert exact_moments(case).mean == pytest.approx(mean, abs=5e-7)
    assert expected_density(case.density_a, case.density_b, case.rank) == pytest.approx(bound, abs=5e-7)
    if deviation is not None:
        assert math.sqrt(exact_moments(case).variance) == pytest.approx(deviation, abs=5e-7)


@pytest.mark.parametrize(
    ("kept_b", "kept_a", "rank", "mean", "bound"),
    [((1, 3), (1, 2), 4, 0.625, 0.564194), ((0, 1, 2, 3), (0, 1, 2, 3), 16, 0.132403, 0.131725)],
)
def test_rows_and_columns_of_exactly_k_entries_pass_the_bound_of_theorem_d_1(
    kept_b: tuple[int, ...], kept_a: tuple[int, ...], rank: int, mean: float, bound: float
) -> None:
    reached = [1 - math.comb(rank - b, a) / math.comb(rank, a) for b, a in itertools.product(kept_b, kept_a)]

    assert np.mean(reached) == pytest.approx(mean, abs=5e-7)
    shares = [float(np.mean(kept)) / rank for kept in (kept_a, kept_b)]
    assert expected_density(shares[0], shares[1], rank) == pytest.approx(bound, abs=5e-7)
    assert mean > bound
