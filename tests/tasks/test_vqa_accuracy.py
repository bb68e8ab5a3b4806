"""Rules and numbers from spec/tasks.md, section 2."""

import pytest
from PIL import Image

from bench import Example
from bench.tasks.okvqa import OKVQA
from bench.tasks.textvqa import TextVQA
from bench.tasks.vqa_accuracy import Variant, normalise_m4c, normalise_official, vqa_accuracy

VARIANTS: tuple[Variant, ...] = ("lavis", "official", "m4c", "vqav2")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("matches", "accuracy"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (9, 1)])
def test_each_of_ten_annotators_gives_three_tenths(variant: Variant, matches: int, accuracy: float) -> None:
    answers = ["red"] * matches + ["blue"] * (10 - matches)

    assert vqa_accuracy("red", answers, variant) == pytest.approx(accuracy)


def test_equal_answers_do_not_drop_out_together() -> None:
    # left out by value instead of index, two equal answers would leave none: 0 instead of 1/3
    assert vqa_accuracy("red", ["red", "red"], "vqav2") == pytest.approx(1 / 3)


def test_lavis_never_maps_the_numbers_of_the_answers() -> None:
    answers = ["two"] * 9 + ["three"]

    assert vqa_accuracy("two", answers, "lavis") == 0
    assert vqa_accuracy("two", answers, "official") == 1


@pytest.mark.parametrize("answer", ["t-shirt", "the beach"])
def test_lavis_cannot_match_a_unanimous_answer_with_a_hyphen_or_an_article(answer: str) -> None:
    assert vqa_accuracy(answer, [answer] * 10, "lavis") == 0
    assert vqa_accuracy(answer, [answer] * 10, "m4c") == 1


def test_lavis_strips_the_punctuation_of_disputed_answers() -> None:
    assert vqa_accuracy("t-shirt", ["t-shirt"] * 9 + ["shirt"], "lavis") == 1


def test_official_compares_unanimous_answers_as_they_are() -> None:
    assert vqa_accuracy("Yes", ["yes"] * 10, "official") == 0
    assert vqa_accuracy("Yes", ["yes"] * 10, "vqav2") == 1


def test_m4c_joins_words_around_a_comma() -> None:
    assert normalise_m4c("red,white") == "redwhite"
    assert normalise_official("red,white") == "red white"


def test_m4c_sets_the_possessive_apart() -> None:
    assert normalise_m4c("Dog's") == "dog 's"


def test_the_period_after_a_digit_goes() -> None:
    assert normalise_official("5.") == "5"
    assert normalise_official("3.5") == "3.5"


def test_only_the_first_32_periods_go() -> None:
    assert normalise_official("x." * 40) == "x" * 32 + "x." * 8


def test_a_comma_between_digits_deletes_every_mark() -> None:
    assert normalise_official("1,000-2") == "10002"


def test_a_mark_beside_a_space_is_deleted_and_else_becomes_a_space() -> None:
    assert normalise_official("black- white") == "black white"
    assert normalise_official("black-white") == "black white"
    assert normalise_official("a-b- c") == "ab c"


def test_quotes_and_percent_signs_stay() -> None:
    assert normalise_official("50% off: 'yes'") == "50% off: 'yes'"


def test_numbers_articles_and_contractions_are_normalised() -> None:
    assert normalise_official("The\ttwo dogs\nDont an eat") == "2 dogs don't eat"
    assert normalise_official("none") == "0"
    assert normalise_official("somebody'd") == "somebodyd"


def test_the_answer_letter_a_becomes_empty() -> None:
    assert vqa_accuracy("", ["a"] * 10, "vqav2") == 1


def test_okvqa_and_textvqa_score_in_their_own_form_and_show_the_other() -> None:
    image = Image.new("RGB", (1, 1))
    examples = [Example("1", "?", ("two",) * 10, image), Example("2", "?", ("t-shirt",) * 9 + ("shirt",), image)]
    said = ["two", "it is a t-shirt"]

    okvqa, textvqa = OKVQA().score(examples, said), TextVQA().score(examples, said)

    assert okvqa["vqa_accuracy"].tolist() == [0, 0]
    assert okvqa["vqa_accuracy_m4c"].tolist() == [1, 0]
    assert textvqa["vqa_accuracy"].tolist() == [1, 0]
    assert textvqa["vqa_accuracy_lavis"].tolist() == [0, 0]
    assert okvqa["lenient"].tolist() == textvqa["lenient"].tolist() == [1, 1]
