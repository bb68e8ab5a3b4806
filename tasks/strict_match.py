"""Exact match as each published evaluation does it; they differ in full stops, punctuation and outer space."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bench import Example

from .exact_match import exact_match, lenient_match

Match = Callable[[str, str], bool]  # of a prediction and an answer

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LONE_LETTER = re.compile(r"\W*([A-Z])\b")


def equal(prediction: str, answer: str) -> bool:
    """Whether the stripped prediction is the answer, but for case (LLaVA, LoRASculpt). "A." is not "A"."""
    return prediction.strip().lower() == answer.lower()


def equal_gqa(prediction: str, answer: str) -> bool:
    """Whether the prediction without full stops at its end, in lower case, is the answer (LLaVA's GQA)."""
    return prediction.strip().rstrip(".").lower() == answer


def equal_lmms(prediction: str, answer: str) -> bool:
    """Whether both are equal in lower case without any punctuation (lmms-eval): "t-shirt" is "tshirt"."""
    said, wanted = (text.lower().translate(_NO_PUNCTUATION).strip() for text in (prediction, answer))
    return said == wanted


def equal_trimmed(prediction: str, answer: str) -> bool:
    """Whether both are equal but for case and outer space (VLMEvalKit)."""
    return exact_match(prediction, [answer]) == 1


def equal_coin(prediction: str, answer: str) -> bool:
    """As ``equal``, but a prediction that holds "Unanswerable" is wrong (CoIN)."""
    return "unanswerable" not in prediction.lower() and equal(prediction, answer)


def first_letter(prediction: str, letter: str) -> bool:
    """Whether a reply begins with the option's capital letter as a word, "B. red", or is that letter in any case."""
    found = _LONE_LETTER.match(prediction)
    return equal(prediction, letter) or (found is not None and found[1] == letter)


def score_matches(
    examples: Sequence[Example], predictions: Sequence[str], matches: Mapping[str, Match]
) -> dict[str, np.ndarray]:
    """Return 0 or 1 for each example by the name of each match, against the first answer, [n]."""
    pairs = [(prediction, example.answers[0]) for example, prediction in zip(examples, predictions, strict=True)]
    return {name: np.array([float(match(*pair)) for pair in pairs]) for name, match in matches.items()}


def score_lenient(examples: Sequence[Example], predictions: Sequence[str]) -> np.ndarray:
    """Return 1 where an answer stands anywhere in the prediction, for each example, [n]."""
    return np.array([lenient_match(p, e.answers) for e, p in zip(examples, predictions, strict=True)])
