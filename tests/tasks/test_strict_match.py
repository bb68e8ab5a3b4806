"""Rules of spec/tasks.md, sections 3, 6 and 7."""

import pytest
from PIL import Image

from bench import Example
from bench.tasks.gqa import GQA
from bench.tasks.iconqa import IconQA
from bench.tasks.ocrvqa import OCRVQA
from bench.tasks.strict_match import equal, equal_gqa, equal_lmms, first_letter


@pytest.mark.parametrize(
    ("prediction", "exact", "lenient"),
    [
        ("B", 1, 1),
        (" b\n", 1, 1),
        ("B.", 0, 1),
        ("B. circle", 0, 1),
        ("(B)", 0, 1),
        ("C", 0, 0),
        ("Blue", 0, 0),
        ("a circle", 0, 0),
        ("", 0, 0),
        ("The answer is B", 0, 0),
    ],
)
def test_iconqa_wants_the_bare_letter_and_tells_the_first_one_apart(
    prediction: str, exact: float, lenient: float
) -> None:
    scores = IconQA().score([example("B")], [prediction])

    assert (scores["exact"][0], scores["first_letter"][0]) == (exact, lenient)


def test_an_article_is_no_letter_but_the_letter_alone_is_one_in_any_case() -> None:
    assert not first_letter("a circle", "A")
    assert first_letter("a", "A")


def test_ocrvqa_strips_the_prediction_and_not_the_answer() -> None:
    scores = OCRVQA().score([example("Arts "), example("Arts")], [" arts", " arts "])

    assert scores["exact"].tolist() == [0, 1]
    assert scores["trimmed"].tolist() == [1, 1]


def test_ocrvqa_keeps_punctuation() -> None:
    assert not equal("J.K. Rowling", "JK Rowling")


def test_coin_counts_unanswerable_as_wrong_whatever_the_answer() -> None:
    scores = OCRVQA().score([example("Unanswerable"), example("no")], ["unanswerable", "No"])

    assert scores["exact"].tolist() == [1, 1]
    assert scores["coin"].tolist() == [0, 1]


def test_gqa_drops_full_stops_at_the_end_and_leaves_the_answer_alone() -> None:
    assert equal_gqa("Yes.", "yes")
    assert equal_gqa("yes..", "yes")
    assert not equal_gqa("yes!", "yes")
    assert not equal_gqa("yes", "Yes")
    assert not equal_gqa("a .yes", "yes")


def test_gqa_as_others_score_it_stands_beside() -> None:
    scores = GQA().score([example("t-shirt")] * 3, ["tshirt", "T-shirt.", "it is a t-shirt"])

    assert scores["exact"].tolist() == [0, 1, 0]
    assert scores["lmms"].tolist() == [1, 1, 0]
    assert scores["trimmed"].tolist() == [0, 0, 0]
    assert scores["lenient"].tolist() == [0, 1, 1]


def test_lmms_deletes_punctuation_on_both_sides() -> None:
    assert equal_lmms("U.S.", "us")
    assert not equal_lmms("u s", "us")


def example(answer: str) -> Example:
    return Example("1", "?", (answer,), Image.new("RGB", (1, 1)))
