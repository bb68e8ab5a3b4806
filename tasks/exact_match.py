"""Exact match, and a lenient match that finds the answer anywhere in the reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bench import Example


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """Return 1 if the prediction is an answer, except for case and outer space. "A." is not "a"."""
    return float(prediction.strip().lower() in {answer.strip().lower() for answer in answers})


def lenient_match(prediction: str, answers: Sequence[str]) -> float:
    """Return 1 if the prediction contains an answer as consecutive whole words, ignoring punctuation."""
    said = _words(prediction)
    for answer in answers:
        wanted = _words(answer)
        ends = range(len(wanted), len(said) + 1)
        if wanted and any(said[end - len(wanted) : end] == wanted for end in ends):
            return 1.0
    return 0.0


def score_exact(examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Return ``exact`` and ``lenient`` for each example, [n]."""
    pairs = [(p, e.answers) for e, p in zip(examples, predictions, strict=True)]
    return {
        "exact": np.array([exact_match(p, answers) for p, answers in pairs]),
        "lenient": np.array([lenient_match(p, answers) for p, answers in pairs]),
    }


def _words(text: str) -> list[str]:
    kept = "".join(c if c.isalnum() or c in "'-" else " " for c in text.lower())
    return kept.split()
