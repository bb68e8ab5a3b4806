import itertools
import time

import numpy as np
import pytest

from bench.leaderboard.stats import RESAMPLES, Draws, Estimate, estimate, mean, resample, smallest_resolvable


def one(scores: list[float] | np.ndarray, task: str = "gqa", seed: int = 0) -> Draws:
    return resample(task, {"only": {seed: np.asarray(scores, dtype=float)}})["only"]


def seeds(scores: dict[int, np.ndarray], task: str = "gqa") -> Draws:
    return resample(task, {"only": scores})["only"]


def test_one_example_has_an_interval_without_width() -> None:
    result = estimate(one([0.3]))

    assert (result.value, result.by_seed) == (0.3, {0: 0.3})
    assert (result.low, result.high) == pytest.approx((0.3, 0.3), abs=1e-9)


def test_two_examples_resample_to_none_half_or_all_right() -> None:
    draws = one([0.0, 1.0])

    values, counts = np.unique(draws.resampled, return_counts=True)

    assert values.tolist() == [0.0, 0.5, 1.0]
    assert counts / RESAMPLES == pytest.approx([0.25, 0.5, 0.25], abs=0.04)
    assert (estimate(draws).low, estimate(draws).high) == (0.0, 1.0)


def test_the_interval_is_as_wide_as_theory_says() -> None:
    scores = np.arange(1000) % 2  # standard error sqrt(0.25 / 1000) = 0.01581

    result = estimate(one(scores))

    assert result.value == 0.5
    assert result.half_width == pytest.approx(1.96 * 0.01581, rel=0.06)


def test_intervals_cover_the_truth_about_95_times_in_100() -> None:
    generator = np.random.default_rng(1)
    trials = {trial: {0: (generator.random(200) < 0.7).astype(float)} for trial in range(400)}

    intervals = [estimate(draws) for draws in resample("gqa", trials).values()]

    assert np.mean([interval.low <= 0.7 <= interval.high for interval in intervals]) == pytest.approx(0.95, abs=0.03)


def test_the_same_scores_give_the_same_interval_again() -> None:
    scores = np.random.default_rng(0).random(50)

    assert estimate(one(scores)) == estimate(one(scores))


def test_company_does_not_change_an_interval() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random(97)
    others = {number: {0: generator.random(97)} for number in range(11)}

    alone, accompanied = one(scores), resample("gqa", {**others, "only": {0: scores}})["only"]

    assert np.array_equal(alone.resampled, accompanied.resampled)


def test_another_task_of_the_same_size_is_resampled_differently() -> None:
    scores = np.random.default_rng(0).random(50)

    assert not np.array_equal(one(scores, "gqa").resampled, one(scores, "okvqa").resampled)


def test_identical_scores_differ_by_exactly_zero_on_every_resample() -> None:
    scores = np.random.default_rng(0).random(251)  # not exact in binary

    trials = resample("gqa", {"a": {0: scores}, "b": {0: scores.copy()}, "c": {0: scores + 1}})
    difference = estimate(trials["a"].minus(trials["b"]))

    assert difference == Estimate(0.0, 0.0, 0.0, {0: 0.0})
    assert difference.covers_zero


def test_pairing_narrows_the_difference_of_two_methods_that_fail_alike() -> None:
    generator = np.random.default_rng(0)
    hard = generator.random(400) < 0.5
    worse = hard.astype(float)
    better = np.where(generator.random(400) < 0.05, 1.0, worse)

    trials = resample("gqa", {"better": {0: better}, "worse": {0: worse}})
    paired = estimate(trials["better"].minus(trials["worse"]))

    assert not paired.covers_zero
    assert paired.half_width < estimate(trials["better"]).half_width / 2


def test_source_is_the_mean_of_task_means_whatever_their_sizes() -> None:
    source = mean([one([1.0] * 3, "a"), one([0.0] * 100, "b")])

    assert estimate(source) == Estimate(0.5, 0.5, 0.5, {0: 0.5})


def test_few_seeds_are_averaged_and_their_spread_stays_out_of_the_interval() -> None:
    draws = seeds({0: np.full(20, 0.2), 1: np.full(20, 0.8)})

    result = estimate(draws)

    assert result.by_seed == pytest.approx({0: 0.2, 1: 0.8})
    assert (result.value, result.low, result.high) == pytest.approx((0.5, 0.5, 0.5))
    assert result.range_percent == "20.00 to 80.00"


def test_five_seeds_put_their_spread_into_the_interval() -> None:
    levels = [0.1, 0.3, 0.5, 0.7, 0.9]

    result = estimate(seeds({seed: np.full(20, level) for seed, level in enumerate(levels)}))

    means = sorted(sum(drawn) / 5 for drawn in itertools.product(levels, repeat=5))
    low, high = np.quantile(means, [0.025, 0.975])
    assert result.value == pytest.approx(0.5)
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.021)


def test_differences_are_paired_by_seed_on_the_seeds_that_both_have() -> None:
    mine = seeds({0: np.full(4, 0.5), 2: np.full(4, 0.9)})
    other = seeds({2: np.full(4, 0.4), 1: np.full(4, 0.0)})

    assert estimate(mine.minus(other)).by_seed == pytest.approx({2: 0.5})


def test_the_resolution_is_the_median_half_width_without_identical_pairs() -> None:
    widths = [0.0, 0.1, 0.2, 0.6]

    assert smallest_resolvable(Estimate(0.0, -width, width, {0: 0.0}) for width in widths) == 0.2
    assert smallest_resolvable([]) is None


def test_a_bound_that_is_zero_but_for_rounding_noise_is_zero_and_a_tie() -> None:
    first = resample("gqa", {"a": {0: np.full(7, 0.3)}, "b": {0: np.full(7, 0.2)}})
    second = resample("okvqa", {"a": {0: np.full(3, 0.6)}, "b": {0: np.full(3, 0.7)}})

    source = {method: mean([first[method], second[method]]) for method in "ab"}
    difference = estimate(source["a"].minus(source["b"]))

    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
    assert difference.covers_zero


def test_a_difference_that_rounds_to_zero_has_no_minus_sign() -> None:
    assert Estimate(-1e-7, 0.0, 0.0, {0: -1e-7}).percent == "0.00"
    assert Estimate(-1e-7, 0.0, 0.0, {0: -1e-7}).signed_percent == "+0.00"


@pytest.mark.slow
def test_42_cells_on_5_tasks_of_250_examples_take_less_than_3_seconds() -> None:
    generator = np.random.default_rng(0)
    tasks = {task: {cell: {0: generator.random(250)} for cell in range(42)} for task in "abcde"}
    start = time.process_time()

    draws = [resample(task, trials) for task, trials in tasks.items()]
    for cell in range(42):
        estimate(mean([of_task[cell] for of_task in draws]))
        for of_task in draws:
            estimate(of_task[cell].minus(of_task[0]))

    assert time.process_time() - start < 3
