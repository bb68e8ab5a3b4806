import math
from dataclasses import replace

import pytest

from bench.papers.lorasculpt.theorems import TheoremCheck, at_least, measure
from bench.papers.lorasculpt.theory import Case, Moments


def test_the_binomial_tail() -> None:
    assert at_least(3, 3, 0.5) == pytest.approx(0.125)
    assert at_least(2, 4, 0.25) == pytest.approx(0.26171875)  # 1 - 0.75^4 - 4 * 0.25 * 0.75^3
    assert at_least(0, 4, 0.25) == 1


@pytest.fixture(scope="module")
def uneven() -> TheoremCheck:
    return measure(Case(8, 12, 4, 0.25, "uneven"), 400, seed=0)


def test_uneven_masks_are_predicted_the_bound_of_theorem_d_1_and_expected_to_have_the_mean_of_eq_34(
    uneven: TheoremCheck,
) -> None:
    assert uneven.predicted == 1 - (1 - 0.25**2) ** 4
    assert uneven.exact.mean < uneven.predicted
    assert uneven.tight is None
    assert uneven.statement_holds
    assert uneven.holds


def test_theorem_d_1_is_contradicted_by_a_mean_that_is_not_that_of_eq_34(uneven: TheoremCheck) -> None:
    lower = replace(uneven, mean=uneven.exact.mean - 0.03)

    assert lower.below_bound
    assert not lower.mean_holds
    assert not lower.statement_holds


def test_theorem_d_1_is_contradicted_by_an_eq_34_above_its_bound(uneven: TheoremCheck) -> None:
    above = Moments(uneven.predicted + 1e-9, uneven.exact.variance)
    found = replace(uneven, exact=above, mean=above.mean)

    assert found.mean_holds
    assert not found.below_bound
    assert not found.statement_holds


def test_an_eq_34_that_rounding_puts_above_its_bound_contradicts_nothing(uneven: TheoremCheck) -> None:
    equal = replace(uneven, exact=Moments(uneven.predicted + 1e-15, uneven.exact.variance), mean=uneven.predicted)

    assert equal.statement_holds


def test_a_mean_off_by_rounding_is_0_standard_errors_off_and_one_off_without_any_spread_infinitely_many() -> None:
    all_kept = measure(Case(3, 2, 2, 1.0, "uneven"), 10, seed=0)

    assert replace(all_kept, mean=1 - 1e-15).errors_off == 0
    assert replace(all_kept, mean=0.9).errors_off == math.inf


def test_a_mean_may_lie_above_the_bound_within_its_noise_and_no_further(uneven: TheoremCheck) -> None:
    error = (uneven.exact.variance / uneven.draws) ** 0.5

    assert replace(uneven, mean=uneven.predicted + 3 * error).below_bound
    assert not replace(uneven, mean=uneven.predicted + 10 * error).below_bound
