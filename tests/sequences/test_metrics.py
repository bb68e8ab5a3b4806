"""The metrics of a sequence on matrices whose values are worked out by hand, and what holds for every matrix."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bench.sequences import metrics
from bench.sequences.metrics import FloatArray

SCORES = np.array([[80.0, 30.0, 20.0], [70.0, 60.0, 25.0], [64.0, 54.0, 90.0]])
ZERO_SHOT, SINGLE = np.array([50.0, 28.0, 22.0]), np.array([80.0, 62.0, 91.0])

Metric = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]

LEVELS: dict[str, Metric] = {
    "AP": lambda a, z, d: metrics.average(a),
    "MAP": lambda a, z, d: metrics.mean_average(a),
    "Transfer": lambda a, z, d: metrics.transfer(a),
    "Learning": lambda a, z, d: metrics.learning(a),
}
DIFFERENCES: dict[str, Metric] = {
    "BWT": lambda a, z, d: metrics.backward_transfer(a),
    "Forgetting": lambda a, z, d: metrics.forgetting(a),
    "FWT": lambda a, z, d: metrics.forward_transfer(a, z),
    "Intransigence": lambda a, z, d: metrics.intransigence(a, d),
}
ALL: dict[str, Metric] = {**LEVELS, **DIFFERENCES, "APn": lambda a, z, d: metrics.relative_average(a, d)}

WORKED = {
    "AP": 208 / 3,
    "MAP": (80 + 65 + 208 / 3) / 3,
    "BWT": -11,
    "Forgetting": 11,
    "FWT": 2.5,
    "Transfer": 26.25,
    "Learning": 230 / 3,
    "Intransigence": 1,
    "APn": (64 / 80 + 54 / 62 + 90 / 91) / 3,
}


def drawn(seed: int, tasks: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return scores, zero-shot and single scores of some tasks, drawn from 0 to 1."""
    random = np.random.default_rng(seed)
    return random.random((tasks, tasks)), random.random(tasks), 0.1 + random.random(tasks)


@pytest.mark.parametrize("name", ALL)
def test_the_worked_example(name: str) -> None:
    assert ALL[name](SCORES, ZERO_SHOT, SINGLE) == pytest.approx(WORKED[name], abs=1e-9)


def test_the_average_after_each_stage_of_the_worked_example() -> None:
    assert metrics.stage_averages(SCORES) == pytest.approx([80, 65, 69.33333333])
    assert metrics.mean_average(SCORES) == pytest.approx(71.44444444)


@pytest.mark.parametrize("tasks", [2, 3, 6])
def test_a_shift_of_every_score_moves_levels_by_itself_and_no_difference(tasks: int) -> None:
    for seed in range(20):
        given = drawn(seed, tasks)
        moved = tuple(each + 0.25 for each in given)

        for name, metric in LEVELS.items():
            assert metric(*moved) == pytest.approx(metric(*given) + 0.25), name
        for name, metric in DIFFERENCES.items():
            assert metric(*moved) == pytest.approx(metric(*given)), name


@pytest.mark.parametrize("tasks", [2, 3, 6])
def test_a_shift_of_one_task_moves_no_difference_and_its_scale_not_the_relative_average(tasks: int) -> None:
    for seed in range(20):
        given = drawn(seed, tasks)
        by_task = np.random.default_rng(seed).random(tasks)

        for name, metric in DIFFERENCES.items():
            assert metric(*(each + by_task for each in given)) == pytest.approx(metric(*given)), name
        scores, _, single = given
        assert metrics.relative_average(scores * (1 + by_task), single * (1 + by_task)) == pytest.approx(
            metrics.relative_average(scores, single)
        )


@pytest.mark.parametrize("tasks", [2, 3, 6])
def test_forgetting_is_at_least_minus_backward_transfer(tasks: int) -> None:
    for seed in range(50):
        scores, *_ = drawn(seed, tasks)

        assert metrics.forgetting(scores) >= -metrics.backward_transfer(scores) - 1e-12


def test_both_are_equal_if_no_task_improves_after_its_own_stage_and_before_the_last() -> None:
    for seed in range(50):
        falling = -np.sort(-drawn(seed, 5)[0], axis=0)

        assert metrics.forgetting(falling) == pytest.approx(-metrics.backward_transfer(falling))

    improved = SCORES.copy()
    improved[1, 0] = 85
    assert metrics.forgetting(improved) == pytest.approx((21 + 6) / 2)
    assert metrics.backward_transfer(improved) == -11


def test_a_task_that_improves_at_the_last_stage_counts_below_zero() -> None:
    scores = np.array([[0.5, 0.0], [0.75, 1.0]])

    assert metrics.forgetting(scores) == -0.25
    assert metrics.backward_transfer(scores) == 0.25


def test_two_tasks_have_closed_forms() -> None:
    for seed in range(20):
        (a, z, d) = drawn(seed, 2)

        found = {name: float(metric(a, z, d)) for name, metric in ALL.items()}

        assert found == pytest.approx(
            {
                "AP": (a[1, 0] + a[1, 1]) / 2,
                "APn": (a[1, 0] / d[0] + a[1, 1] / d[1]) / 2,
                "MAP": (a[0, 0] + (a[1, 0] + a[1, 1]) / 2) / 2,
                "BWT": a[1, 0] - a[0, 0],
                "Forgetting": a[0, 0] - a[1, 0],
                "FWT": a[0, 1] - z[1],
                "Transfer": a[0, 1],
                "Learning": (a[0, 0] + a[1, 1]) / 2,
                "Intransigence": (d[0] - a[0, 0] + d[1] - a[1, 1]) / 2,
            }
        )


def test_the_order_of_the_tasks_changes_the_averages_only_through_the_scores() -> None:
    for seed in range(20):
        a, z, d = drawn(seed, 4)
        order = np.random.default_rng(seed).permutation(4)

        renamed = a[:, order]  # the same final scores, listed in another order

        assert metrics.average(renamed) == pytest.approx(metrics.average(a))
        assert metrics.relative_average(renamed, d[order]) == pytest.approx(metrics.relative_average(a, d))
        untouched = np.tile(z, (4, 1))[:, order]
        assert metrics.average(untouched) == pytest.approx(z.mean())
        assert metrics.forward_transfer(untouched, z[order]) == pytest.approx(0)


def test_models_that_are_trained_apart_forget_nothing_in_any_order() -> None:
    for seed in range(20):
        a, _, d = drawn(seed, 4)
        order = np.random.default_rng(seed).permutation(4)
        apart = np.where(np.tri(4, dtype=bool), d[order], a)

        assert metrics.backward_transfer(apart) == 0
        assert metrics.forgetting(apart) == 0
        assert metrics.intransigence(apart, d[order]) == 0
        assert metrics.relative_average(apart, d[order]) == 1
        assert metrics.average(apart) == pytest.approx(d.mean())
        assert metrics.learning(apart) == pytest.approx(d.mean())


@pytest.mark.parametrize("name", ALL)
def test_leading_axes_are_separate_sequences(name: str) -> None:
    many = [[drawn(10 * seed + at, 3) for at in range(4)] for seed in range(2)]
    stacked = [np.array([[each[part] for each in row] for row in many]) for part in range(3)]

    found = ALL[name](stacked[0], stacked[1], stacked[2])

    assert found.shape == (2, 4)
    assert found == pytest.approx(np.array([[float(ALL[name](*each)) for each in row] for row in many]))


@pytest.mark.parametrize("name", ALL)
def test_one_zero_shot_score_serves_every_seed(name: str) -> None:
    a, z, d = drawn(0, 3)

    found = ALL[name](np.stack([a, a]), z, np.stack([d, d]))

    assert found == pytest.approx(float(ALL[name](a, z, d)))


def test_a_missing_score_is_felt_only_by_what_reads_it() -> None:
    early = SCORES.copy()
    early[0, 2] = np.nan  # the last task, two stages before it is learnt

    found = {name: float(metric(early, ZERO_SHOT, SINGLE)) for name, metric in ALL.items()}

    assert {name for name, value in found.items() if np.isnan(value)} == {"Transfer"}
    late = SCORES.copy()
    late[1, 0] = np.nan
    found = {name: float(metric(late, ZERO_SHOT, SINGLE)) for name, metric in ALL.items()}
    assert {name for name, value in found.items() if np.isnan(value)} == {"MAP", "Forgetting"}


def test_a_task_that_scores_nothing_alone_has_no_relative_average() -> None:
    assert np.isnan(metrics.relative_average(SCORES, np.array([80.0, 0.0, 91.0])))
