"""Which replies have the form that a task asks for: SMoLoRA's rules for short answers, letters and captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from bench import Card, Example, Split, Task


class Short(Task):
    """A task whose answers are short."""

    name: ClassVar[str] = "short"
    paper: ClassVar[str] = "none"
    primary: ClassVar[str] = "exact"

    def examples(self, split: Split) -> Sequence[Example]:
        return []

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {}


class Letters(Short):
    """A task whose answer is the letter of an option."""

    card: ClassVar[Card | None] = Card("https://example.org", "CC0", lettered=True)


class Captions(Short):
    """A task whose answers are captions."""

    primary: ClassVar[str] = "cider"


def example(*answers: str) -> Example:
    return Example("0", "what is it?", answers, Path())


@pytest.mark.parametrize(
    ("reply", "follows"),
    [
        ("cat", True),
        ("a cat", True),
        (" A  cat\n", True),
        ("a black cat", False),
        ("A Big Red Bus ", True),
        ("a big red bus.", False),
        ("", False),
        ("  ", False),
    ],
)
def test_a_short_answer_has_one_or_two_words_or_is_an_answer(reply: str, follows: bool) -> None:
    assert Short().follows(example("bus", "a big red bus"), reply) is follows


@pytest.mark.parametrize(
    ("reply", "follows"),
    [("B", True), (" b ", True), ("B.", False), ("(B)", False), ("BC", False), ("2", False), ("", False), ("Ä", False)],
)
def test_a_letter_stands_alone(reply: str, follows: bool) -> None:
    assert Letters().follows(example("B"), reply) is follows


@pytest.mark.parametrize(
    ("reply", "follows"),
    [
        ("A man rides a wave.", True),
        ("A man rides a wave", False),
        ("rides a wave.", False),
        ("On A Board.", True),
        ("a board", False),
    ],
)
def test_a_caption_ends_with_a_period_and_is_long_or_part_of_a_reference(reply: str, follows: bool) -> None:
    assert Captions().follows(example("a surfer", "A surfer on a board. "), reply) is follows


@pytest.mark.parametrize(
    ("reply", "follows"),
    [
        ("a blue cross above a red circle", True),
        ("a blue cross above a red circle.", True),
        ("Red Circle above", True),
        ("red", True),  # a part of a reference, as in SMoLoRA's rule
        ("triangle", False),
        ("a green ring", False),
        ("", False),
    ],
)
def test_a_caption_whose_references_have_no_period_needs_none(reply: str, follows: bool) -> None:
    assert Captions().follows(example("a red circle above a blue cross", "a circle"), reply) is follows
