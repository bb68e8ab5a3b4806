"""Shared parts of the tasks with short answers: the suffix of the prompt, and the answers in their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench import DataError

SUFFIX = "Answer the question using a single word or phrase."
ANNOTATORS = 10
ANY_ANSWER = "any_answer"  # the variant that scores any number of answers


def answers_to_score(answers: Sequence[str], task: str, variant: str) -> tuple[str, ...]:
    """Return the annotators' answers, the most frequent first, because the first is the one to teach.

    Blank answers stay in the result, at the end. VQA accuracy needs ten annotators; the variant ``any_answer`` takes
    any number.

    Raises:
        DataError: the number of answers is not ten, or all answers are blank.
    """
    if variant != ANY_ANSWER and len(answers) != ANNOTATORS:
        raise DataError(
            f"it has {len(answers)} answers, but VQA accuracy needs {ANNOTATORS}; {task}@{ANY_ANSWER} scores any number"
        )
    if not any(answer.strip() for answer in answers):
        raise DataError("its answers are all empty")
    counts = Counter(answers)
    return tuple(sorted(answers, key=lambda each: (not each.strip(), -counts[each], answers.index(each))))
