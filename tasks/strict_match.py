"""Exact match in the form of each published evaluation.

The forms differ in full stops, punctuation and outer space.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bench import Example

from .exact_match import exact_match, lenient_match

Match = Callable[[str, str], bool]  # compares a prediction with an answer

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LONE_LETTER = re.compile(r"\W*([A-Z])\b")


def equal(prediction: str, answer: str) -> bool:
    """Return lower(strip(prediction)) = lower(answer) (LLaVA, LoRASculpt). "A." is not "A"."""
    return prediction.strip().lower() == answer.lower()


def equal_gqa(prediction: str, answer: str) -> bool:
    """Return whether the lower-case prediction without final full stops is the answer (LLaVA's GQA)."""
    return prediction.strip().rstrip(".").lower() == answer


def equal_lmms(prediction: str, answer: str) -> bool:
    """Return whether both are equal in lower case without punctuation: "t-shirt" is "tshirt" (lmms-eval)."""
    said, wanted = (text.lower().translate(_NO_PUNCTUATION).strip() for text in (prediction, answer))
    return said == wanted


def equal_trimmed(prediction: str, answer: str) -> bool:
    """Return whether both are equal except for case and outer space (VLMEvalKit)."""
    return exact_match(prediction, [answer]) == 1


def equal_coin(prediction: str, answer: str) -> bool:
    """Return ``equal``, except that a prediction with "Unanswerable" in it is wrong (CoIN)."""
    return "unanswerable" not in prediction.lower() and equal(prediction, answer)


def first_letter(prediction: str, letter: str) -> bool:
    """Return whether a reply selects the option with this capital letter.

    The reply is the letter in any case, or begins with the capital letter as a word, as in "B. red".
    """
    found = _LONE_LETTER.match(prediction)
    return equal(prediction, letter) or (found is not None and found[1] == letter)


def score_matches(
    examples: Sequence[Example], predictions: Sequence[str], matches: Mapping[str, Match]
) -> dict[str, np.ndarray]:
    """Compare each prediction with the first answer; return 0 or 1 per example, [n], for each match."""
    pairs = [(prediction, example.answers[0]) for example, prediction in zip(examples, predictions, strict=True)]
    return {name: np.array([float(match(*pair)) for pair in pairs]) for name, match in matches.items()}


def score_lenient(examples: Sequence[Example], predictions: Sequence[str]) -> np.ndarray:
    """Return 1 for each example whose prediction contains an answer, and 0 for the others, [n]."""
    return np.array([lenient_match(p, e.answers) for e, p in zip(examples, predictions, strict=True)])
