"""Shared parts of the tasks with short answers: the suffix of the prompt, and ten ordered answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench import DataError

SUFFIX = "Answer the question using a single word or phrase."
ANNOTATORS = 10


def ten_answers(answers: Sequence[str]) -> tuple[str, ...]:
    """Return the ten annotators' answers, the most frequent first, because the first is the one to teach.

    Blank answers stay in the result, at the end.

    Raises:
        DataError: the number of answers is not ten, or all answers are blank.
    """
    if len(answers) != ANNOTATORS:
        raise DataError(f"it has {len(answers)} answers, not {ANNOTATORS}")
    counts = Counter(answers)
    ordered = sorted(answers, key=lambda answer: (not answer.strip(), -counts[answer], answers.index(answer)))
    if not ordered[0].strip():
        raise DataError("its answers are all empty")
    return tuple(ordered)
