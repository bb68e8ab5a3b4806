"""Find the examples that the untouched base model answers right and a trial answers wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import DataError

RIGHT = 0.5  # VQA soft accuracy is 0, 0.3, 0.6, 0.9 or 1, so an answer is right if two annotators gave it


@dataclass(frozen=True, slots=True)
class ScoredExample:
    """One example and a model's answer to it; ``score`` is that of the primary metric."""

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
    """Return the examples that score at least ``right`` zero-shot but less in the trial, in task order.

    Raises:
        DataError: zero-shot and the trial were not scored on the same examples.
    """
    now = {example.id: example for example in trial}
    if now.keys() != {example.id for example in zero_shot}:
        raise DataError(
            f"The trial was scored on {len(now)} examples and zero-shot on {len(zero_shot)}, and their ids differ. "
            "Score both with the same --limit."
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
