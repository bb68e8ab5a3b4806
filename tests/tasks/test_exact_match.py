from PIL import Image

from bench import Example
from bench.tasks.exact_match import exact_match, lenient_match, score_exact


def test_case_and_outer_space_do_not_matter() -> None:
    assert exact_match(" Rectangle\n", ["rectangle"]) == 1


def test_punctuation_does_matter() -> None:
    assert exact_match("A.", ["A"]) == 0
    assert exact_match("A. circle", ["A"]) == 0


def test_any_accepted_answer_counts() -> None:
    assert exact_match("sea", ["water", "sea"]) == 1


def test_an_empty_prediction_is_wrong() -> None:
    assert exact_match("", ["red"]) == 0
    assert lenient_match("", ["red"]) == 0


def test_lenient_finds_the_answer_anywhere_in_the_reply() -> None:
    assert lenient_match("It is a red circle.", ["Red"]) == 1
    assert lenient_match("the answer is B.", ["B"]) == 1


def test_lenient_wants_whole_words_in_order() -> None:
    assert lenient_match("a bored man", ["red"]) == 0
    assert lenient_match("left of the door", ["the left"]) == 0
    assert lenient_match("on the left side", ["the left"]) == 1


def test_scores_are_one_number_per_example() -> None:
    examples = [Example(str(n), "?", ("red",), Image.new("RGB", (1, 1))) for n in range(3)]

    scores = score_exact(examples, ["red", "a red one", "blue"])

    assert scores["exact"].tolist() == [1, 0, 0]
    assert scores["lenient"].tolist() == [1, 1, 0]
