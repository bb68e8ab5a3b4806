import pytest

from bench.search.pareto import Point, front, hypervolume, pick

A, B, C, D = Point(0, 0.8, 0.2), Point(1, 0.5, 0.6), Point(2, 0.4, 0.5), Point(3, 0.8, 0.1)


def test_the_front_holds_what_no_other_point_dominates() -> None:
    assert front([C, B, D, A]) == (A, B)


def test_of_equal_points_the_front_holds_the_first() -> None:
    assert front([A, Point(9, 0.8, 0.2)]) == (A,)


def test_the_hypervolume_is_the_area_under_the_front() -> None:
    assert hypervolume([A, B, C, D]) == pytest.approx(0.8 * 0.2 + 0.5 * 0.4)


def test_points_below_the_reference_add_nothing() -> None:
    assert hypervolume([A], (0.9, 0.0)) == 0.0


def test_a_dominated_point_changes_neither_front_nor_hypervolume() -> None:
    assert hypervolume([A, B, C]) == hypervolume([A, B])


def test_each_objective_picks_its_own_best() -> None:
    points = [A, B, C, D]

    assert [pick(points, objective) for objective in ("avg", "source", "target", "pareto")] == [B, A, B, B]


def test_a_margin_is_needed_in_both_objectives_to_dominate() -> None:
    better = Point(0, 0.52, 0.62)

    assert better.dominates(B)
    assert better.dominates(B, 0.01)
    assert not better.dominates(B, 0.03)
    assert not B.dominates(B)
