import pytest

from bench import DataError
from bench.leaderboard.lost_examples import ScoredExample, right_to_wrong


def answered(identity: str, prediction: str, score: float) -> ScoredExample:
    return ScoredExample(identity, f"Question {identity}?", ("red", "crimson"), prediction, score)


def test_right_to_wrong_lists_lost_answers_with_both_predictions() -> None:
    before = [answered("a", "red", 1.0), answered("b", "red", 1.0), answered("c", "tall", 0.0)]
    after = [answered("c", "red", 1.0), answered("b", "a red car", 0.0), answered("a", "red", 1.0)]

    assert right_to_wrong(before, after) == ((before[1], after[1]),)


def test_an_answer_of_two_annotators_counts_as_right_and_of_one_as_wrong() -> None:
    before, after = [answered("a", "red", 0.6)], [answered("a", "pink", 0.3)]

    assert [lost.id for lost, _ in right_to_wrong(before, after)] == ["a"]
    assert right_to_wrong(after, before) == ()


def test_other_examples_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="their ids differ"):
        right_to_wrong([answered("a", "red", 1.0)], [answered("b", "red", 1.0)])
