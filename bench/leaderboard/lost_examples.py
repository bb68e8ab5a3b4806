"""Which examples a trial lost: answered right by the untouched base model, and wrong now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import DataError

RIGHT = 0.5  # VQA soft accuracy gives 0, 0.3, 0.6, 0.9 and 1: two agreeing annotators make an answer right


@dataclass(frozen=True, slots=True)
class ScoredExample:
    """One example as a model answered it; ``score`` is the primary metric's."""

    id: str
    question: str
    answers: tuple[str, ...]
    prediction: str
    score: float


@dataclass(frozen=True, slots=True)
class LostExample:
    """One example that went from right to wrong, with both predictions and their scores."""

    id: str
    question: str
    answers: tuple[str, ...]
    before: str
    after: str
    score_before: float
    score_after: float


def right_to_wrong(
    zero_shot: Sequence[ScoredExample], trial: Sequence[ScoredExample], right: float = RIGHT
) -> tuple[LostExample, ...]:
    """Return the examples that scored at least ``right`` zero-shot and less now, in the task's order.

    Raises:
        DataError: the two were not scored on the same examples.
    """
    now = {example.id: example for example in trial}
    if now.keys() != {example.id for example in zero_shot}:
        raise DataError(
            f"The trial was scored on {len(now)} examples, zero-shot on {len(zero_shot)}, with other "
            "ids. Score both with the same --limit."
        )
    return tuple(_lost(before, now[before.id]) for before in zero_shot if before.score >= right > now[before.id].score)


def _lost(before: ScoredExample, after: ScoredExample) -> LostExample:
    return LostExample(
        before.id,
        before.question,
        before.answers,
        before.prediction,
        after.prediction,
        before.score,
        after.score,
    )
