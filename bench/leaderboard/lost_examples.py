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


def right_to_wrong(
    zero_shot: Sequence[ScoredExample], trial: Sequence[ScoredExample]
) -> tuple[tuple[ScoredExample, ScoredExample], ...]:
    """Return both answers to each example that is right zero-shot and wrong in the trial, in task order.

    Raises:
        DataError: zero-shot and the trial were not scored on the same examples.
    """
    now = {example.id: example for example in trial}
    if now.keys() != {example.id for example in zero_shot}:
        raise DataError(
            f"The trial was scored on {len(now)} examples and zero-shot on {len(zero_shot)}, and their ids differ. "
            "Score both with the same --limit."
        )
    pairs = ((before, now[before.id]) for before in zero_shot)
    return tuple((before, after) for before, after in pairs if before.score >= RIGHT > after.score)
