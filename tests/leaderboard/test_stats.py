from collections.abc import Iterator

import numpy as np
import pytest

from bench.leaderboard import stats
from bench.leaderboard.stats import (
    RESAMPLES,
    Draws,
    Estimate,
    FloatArray,
    Kept,
    _quantiles,
    estimate,
    mean,
    resample,
    smallest_resolvable,
)


def one(scores: list[float] | np.ndarray, task: str = "gqa", seed: int = 0) -> Draws:
    return resample(task, {"only": {seed: np.asarray(scores, dtype=float)}})["only"]


def seeds(scores: dict[int, np.ndarray], task: str = "gqa") -> Draws:
    return resample(task, {"only": scores})["only"]


def test_two_examples_resample_to_none_half_or_all_right() -> None:
    values, counts = np.unique(one([0.0, 1.0]).resampled, return_counts=True)

    assert values.tolist() == [0.0, 0.5, 1.0]
    assert counts / RESAMPLES == pytest.approx([0.25, 0.5, 0.25], abs=0.04)


@pytest.mark.parametrize(
    ("right", "count", "low", "high"), [(0, 10, 0.0, 0.30850), (9, 10, 0.55498, 0.99747), (50, 50, 0.92887, 1.0)]
)
def test_a_share_of_right_answers_has_clopper_and_pearsons_interval(
    right: int, count: int, low: float, high: float
) -> None:
    result = estimate(one(np.arange(count) < right))

    assert (result.low, result.high) == pytest.approx((low, high), abs=1e-5)
    assert result.half_width == max(result.value - result.low, result.high - result.value)


@pytest.mark.parametrize(("count", "side"), [(10, 0.30850), (99, 0.03658), (100, 0.0)])
def test_below_100_examples_no_interval_is_without_width(count: int, side: float) -> None:
    trials = resample("gqa", {"a": {0: np.full(count, 0.3)}, "b": {0: np.full(count, 0.3)}})
    difference = estimate(trials["a"].minus(trials["b"]))

    assert (difference.value, difference.low, difference.high) == pytest.approx((0.0, -side, side), abs=1e-5)
    assert estimate(trials["a"]).half_width == pytest.approx(side, abs=1e-5)


def test_a_few_changed_answers_that_are_no_tie_have_a_half_width_below_the_difference() -> None:
    before = np.zeros(400)
    for changed in range(1, 12):
        trials = resample("gqa", {"a": {0: (np.arange(400) < changed).astype(float)}, "b": {0: before}})
        difference = estimate(trials["a"].minus(trials["b"]))

        assert difference.covers_zero == (difference.value <= difference.half_width)


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
    source = mean([one([1.0] * 300, "a"), one([0.0] * 100, "b")])

    assert estimate(source) == Estimate(0.5, 0.5, 0.5, {0: 0.5})


def test_two_seeds_give_students_interval() -> None:
    result = estimate(seeds({0: np.full(200, 0.2), 1: np.full(200, 0.8)}))

    half = 12.7062047 * 0.3  # t with one degree of freedom; 0.3 is 0.6 / sqrt(2) / sqrt(2)
    assert result.by_seed == pytest.approx({0: 0.2, 1: 0.8})
    assert (result.value, result.low, result.high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    assert result.range_percent == "20.00 to 80.00"


def test_the_spread_of_seeds_is_added_to_that_of_examples_except_what_their_answers_explain() -> None:
    generator = np.random.default_rng(0)
    noise = generator.standard_normal(1000)
    draws = seeds({seed: noise + level for seed, level in enumerate((0.10, 0.12, 0.17, 0.13, 0.08))})

    over_examples = estimate(one(noise)).half_width
    student = 2.7764451 * np.std([0.10, 0.12, 0.17, 0.13, 0.08], ddof=1) / np.sqrt(5)
    assert estimate(draws).half_width == pytest.approx(np.hypot(over_examples, student), rel=1e-4)


def test_seeds_whose_answers_alone_differ_have_no_wider_interval_than_students() -> None:
    generator = np.random.default_rng(0)
    draws = seeds({seed: generator.random(400) for seed in range(5)})

    spread = np.std(draws.points, ddof=1)
    both = np.hypot(1.96 * np.sqrt(1 / 12 / 2000), 2.7764451 * spread / np.sqrt(5))
    assert estimate(draws).half_width < both


def test_differences_are_paired_by_seed_on_the_seeds_that_both_have() -> None:
    mine = seeds({0: np.full(4, 0.5), 2: np.full(4, 0.9)})
    other = seeds({2: np.full(4, 0.4), 1: np.full(4, 0.0)})

    assert estimate(mine.minus(other)).by_seed == pytest.approx({2: 0.5})


def test_the_resolution_is_the_median_half_width_without_identical_pairs() -> None:
    widths = [0.0, 0.1, 0.2, 0.6]

    assert smallest_resolvable(Estimate(0.0, -width, width, {0: 0.0}) for width in widths) == 0.2
    assert smallest_resolvable([]) is None


def test_a_bound_that_is_zero_but_for_rounding_noise_is_zero_and_a_tie() -> None:
    first = resample("gqa", {"a": {0: np.full(700, 0.3)}, "b": {0: np.full(700, 0.2)}})
    second = resample("okvqa", {"a": {0: np.full(300, 0.6)}, "b": {0: np.full(300, 0.7)}})

    source = {method: mean([first[method], second[method]]) for method in "ab"}
    difference = estimate(source["a"].minus(source["b"]))

    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
    assert difference.covers_zero


def test_a_difference_that_rounds_to_zero_has_no_minus_sign() -> None:
    assert Estimate(-1e-7, 0.0, 0.0, {0: -1e-7}).percent == "0.00"
    assert Estimate(-1e-7, 0.0, 0.0, {0: -1e-7}).signed_percent == "+0.00"


def test_the_product_of_a_resampling_keeps_to_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = list[int]()

    def noted(task: str, count: int) -> Iterator[FloatArray]:
        threads.extend(pool["num_threads"] for pool in stats._blas().info() if pool["user_api"] == "blas")
        return counts(task, count)

    counts = stats._counts
    monkeypatch.setattr(stats, "_counts", noted)
    with stats._blas().limit(limits=2, user_api="blas"):
        resample("gqa", {"": {0: np.ones(3)}})

    assert set(threads) == {1}


def test_the_quantiles_are_numpys_to_the_bit() -> None:
    random = np.random.default_rng(0)
    for place in range(300):
        values = np.round(random.normal(size=int(random.integers(2, 2001))), place % 9) * 10.0 ** (place % 7 - 3)
        for shares in ((0.025, 0.975), (0.0, 0.5), (1 / 3, 2 / 3)):
            assert list(_quantiles(values, shares)) == np.quantile(values, shares).tolist()


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_resamples_are_drawn_once_and_give_the_same_bits(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, drawn, counts = Kept(), list[str](), stats._counts

    def noted(task: str, count: int) -> Iterator[FloatArray]:
        drawn.append(task)
        return counts(task, count)

    monkeypatch.setattr(stats, "_counts", noted)
    scores = np.arange(count) / count

    first, second, third = (resample("gqa", {"": {0: scores}}, kept)[""].resampled for _ in range(3))
    alone = resample("gqa", {"": {0: scores}})[""].resampled

    assert drawn == 2 * ["gqa"]  # once for the three, once for the one alone
    assert (first == alone).all()
    assert (second == alone).all()
    assert (third == alone).all()


def test_a_count_that_a_byte_cannot_hold_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "_counts", lambda task, count: iter([np.full((RESAMPLES, 1), 300.0)]))
    kept = Kept()

    blocks = [block for _ in range(2) for block in kept.counts("gqa", 1)]

    assert all((block == 300).all() for block in blocks)
