import numpy as np

from bench.leaderboard.marks import mark
from bench.leaderboard.stats import Draws, FloatArray, resample
from tests.making.simulation import World


def drawn(**rows: list[FloatArray]) -> dict[str, Draws]:
    return resample("gqa", {name: dict(enumerate(seeds)) for name, seeds in rows.items()})


def first(right: int) -> FloatArray:
    return (np.arange(400) < right).astype(float)


def test_rows_that_share_the_highest_number_are_all_best() -> None:
    marks = mark(drawn(a=[first(300)], b=[first(300)], c=[first(200)]))

    assert (set(marks.best), set(marks.tied)) == ({"a", "b"}, set())


def test_a_row_near_the_highest_is_tied_and_one_far_below_is_not() -> None:
    marks = mark(drawn(a=[first(300)], b=[first(299)], c=[first(200)]))

    assert (set(marks.best), set(marks.tied)) == ({"a"}, {"b"})


def test_leads_that_set_a_pair_apart_are_ties_among_many_rows() -> None:
    alone = together = 0
    for rows in World(redrawn=0.1).tables(20):
        many = dict(enumerate(rows))
        best = max(many, key=lambda place: many[place].value)
        alone += sum(place in mark({best: many[best], place: many[place]}).tied for place in many)
        together += len(mark(many).tied)

    assert alone < together


def test_trainings_that_differ_much_tie_rows_that_their_examples_set_apart() -> None:
    fixed = mark(drawn(a=[first(300)], b=[first(280)]))
    trained = mark(drawn(a=[first(280), first(320)], b=[first(260), first(300)]))

    assert not fixed.tied
    assert trained.tied == {"b"}


def test_the_highest_of_more_rows_is_further_too_high() -> None:
    generator = np.random.default_rng(0)
    rows = {str(place): [(generator.random(400) < 0.5).astype(float)] for place in range(10)}
    few = dict(list(rows.items())[:2])

    assert mark(drawn(**rows)).too_high > 1.5 * mark(drawn(**few)).too_high > 0


def test_equal_answers_of_fewer_than_100_examples_do_not_set_rows_apart() -> None:
    alike = resample("gqa", {"a": {0: np.full(20, 0.5)}, "b": {0: np.full(20, 0.4)}})

    assert mark(alike).tied == {"b"}
