"""VQA soft accuracy, in the four variants that published numbers use.

A prediction scores min(1, matches / 3), averaged over leaving out each annotator in turn. Annotators are left out by
list index, so equal answers do not drop out together. With ten answers and n matches, the score is min(1, 0.3 n).

lavis      LAVIS / 2017 VQAEval, for OK-VQA in LLaVA-HR and LoRASculpt. It normalises the prediction in full. The
           answers lose only their punctuation, and only if the annotators disagree.
official   The VQA repository since 2021. It normalises both sides in full, or neither if the annotators agree.
m4c        M4C / EvalAI, for TextVQA. It always normalises both sides, after a first pass of its own.
vqav2      lmms-eval's vqav2. It always normalises both sides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from bench import Example

from .contractions import CONTRACTIONS
from .exact_match import lenient_match

Variant = Literal["lavis", "official", "m4c", "vqav2"]

_PUNCTUATION = tuple(';/[]"{}()=+\\_-><@`,?!')
_COMMA = re.compile(r"(\d)(,)(\d)")
_COMMA_M4C = re.compile(r"(?<=\d)(,)+(?=\d)")
_PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")  # sic: this is not a look-behind, so "5." becomes "5"
_PERIODS = 32  # sic: the original passes re.UNICODE as the count
_NUMBERS = {
    **{"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4"},
    **{"five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"},
}
_ARTICLES = ("a", "an", "the")


def vqa_accuracy(prediction: str, answers: Sequence[str], variant: Variant) -> float:
    """Return the soft accuracy of one prediction, 0 to 1."""
    said, wanted = _normalise(prediction, answers, variant)
    matches = sum(answer == said for answer in wanted)
    shares = [min(1.0, (matches - (answer == said)) / 3) for answer in wanted]
    return sum(shares) / len(shares)


def score_vqa(examples: Sequence[Example], predictions: Sequence[str], variant: Variant) -> Mapping[str, np.ndarray]:
    """Return ``vqa_accuracy`` and ``lenient`` for each example, [n]."""
    pairs = [(p, e.answers) for e, p in zip(examples, predictions, strict=True)]
    return {
        "vqa_accuracy": np.array([vqa_accuracy(p, answers, variant) for p, answers in pairs]),
        "lenient": np.array([lenient_match(p, answers) for p, answers in pairs]),
    }


def any_answer(prediction: str, answers: Sequence[str]) -> float:
    """Return 1 if the prediction is one of the answers, both normalised as the official evaluation does.

    It needs no ten annotators, and is not comparable with ``vqa_accuracy``: one annotator's answer scores in full.

    >>> any_answer("The dogs.", ["dogs", "cats"]), any_answer("", ["a"])
    (1.0, 0.0)
    """
    said = normalise_official(prediction)
    return float(bool(prediction.strip()) and said in {normalise_official(answer) for answer in answers})


def score_any_answer(examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Return ``any_answer`` and ``lenient`` for each example, [n]."""
    pairs = [(p, e.answers) for e, p in zip(examples, predictions, strict=True)]
    return {
        "any_answer": np.array([any_answer(p, answers) for p, answers in pairs]),
        "lenient": np.array([lenient_match(p, answers) for p, answers in pairs]),
    }


def strip_punctuation(text: str, comma: re.Pattern[str] = _COMMA) -> str:
    """Delete or space out punctuation: "t-shirt" -> "t shirt", "black- white" -> "black white"."""
    kept = text
    for mark in _PUNCTUATION:
        glued = mark + " " in text or " " + mark in text or comma.search(text) is not None
        kept = kept.replace(mark, "" if glued else " ")
    return _PERIOD.sub("", kept, count=_PERIODS)


def map_words(text: str) -> str:
    """Lower the case, write numbers as digits, drop articles, and add apostrophes to contractions."""
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def normalise_official(text: str) -> str:
    """Return the text as the official evaluation compares it."""
    return map_words(strip_punctuation(_one_line(text)))


def normalise_m4c(text: str) -> str:
    """Return the text as M4C's EvalAI processor compares it."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return map_words(strip_punctuation(_one_line(text), _COMMA_M4C))


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _normalise(prediction: str, answers: Sequence[str], variant: Variant) -> tuple[str, Sequence[str]]:
    if variant == "m4c":
        return normalise_m4c(prediction), [normalise_m4c(answer) for answer in answers]
    if variant == "lavis":
        agreed = len(set(answers)) == 1
        wanted = answers if agreed else [strip_punctuation(answer) for answer in answers]
        return normalise_official(prediction), wanted
    lines = [_one_line(answer) for answer in answers]
    if variant == "official" and len(set(lines)) == 1:
        return _one_line(prediction), lines
    return normalise_official(prediction), [normalise_official(answer) for answer in lines]
