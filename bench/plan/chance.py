"""Find the sources that have nothing to forget, because the base model is not above chance on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt

import numpy as np

from bench.plan.fingerprint import once_a_task
from bench.plan.request import Request
from bench.plugins.examples import read_examples, spread
from bench.plugins.task import Split, Task
from bench.values.record import Record
from bench.values.scores import ScoreSpec

_EXAMPLES = 1_000  # examples of a split from which its chance is computed
_ANSWERS = 5  # constant answers that are tried
_WIDTH = 1.96  # half-width of an interval of 95 % in standard errors

Level = tuple[float, float]  # the score of chance, and the highest score


@dataclass(frozen=True, slots=True)
class AtChance:
    """A source on which the untouched base model is not above chance. Scores are fractions."""

    task: str
    zero_shot: float
    chance: float

    def __str__(self) -> str:
        """Return the finding as a clause."""
        return f"{self.task}: zero-shot {100 * self.zero_shot:.2f} (chance {100 * self.chance:.2f}): nothing to forget"


@dataclass(frozen=True, slots=True)
class Counted:
    """The sources that count in Source, Avg and forgetting, and those at chance.

    If every source is at chance, all of them are ``names``, because a mean of none does not exist.
    """

    names: tuple[str, ...]
    at_chance: tuple[AtChance, ...] = ()

    @property
    def left_out(self) -> frozenset[str]:
        """The sources that do not count."""
        return frozenset(item.task for item in self.at_chance) - set(self.names)

    def lines(self) -> tuple[str, ...]:
        """Return a line for each source that does not count, or one line if no source is above chance."""
        if self.at_chance and not self.left_out:
            found = (f"{item.task} {100 * item.zero_shot:.2f} ({100 * item.chance:.2f})" for item in self.at_chance)
            return (
                "No source is above chance before training, so nothing can be forgotten, and Source and forgetting "
                f"mean nothing here. Zero-shot (chance): {', '.join(found)}.",
            )
        return tuple(f"{item}, so Source leaves it out; --every-source counts it." for item in self.at_chance)


def counted(request: Request, zero_shot: Record | None, asked: Sequence[ScoreSpec]) -> Counted:
    """Return which sources of a request count, from the scores ``asked`` of the untouched base model.

    A source whose score is not known counts, and so does every source if the request says so.
    """
    known = None if request.every_source else zero_shot
    return above_chance(request.sources, known, asked, partial(level, request))


def above_chance(
    sources: tuple[str, ...],
    zero_shot: Record | None,
    asked: Sequence[ScoreSpec],
    level_of: Callable[[ScoreSpec], Level],
) -> Counted:
    """Return which sources count if those at chance do not; ``level_of`` returns the level of a source's score.

    A source whose score is not known counts.
    """
    found, scores = [], {} if zero_shot is None else zero_shot.scores
    for item in asked:
        score = scores.get(item.key)
        if item.task in sources and score is not None:
            lowest, highest = level_of(item)
            if not above(score.value, lowest, item.count, highest):
                found.append(AtChance(item.task, score.value, lowest))
    names = tuple(name for name in sources if name not in {item.task for item in found})
    return Counted(names or sources, tuple(found))


def level(request: Request, item: ScoreSpec) -> Level:
    """Return the chance of a score's task and split, and the highest value that the score may have."""
    task = request.tasks.load(item.task)
    return chance(task, _split(item)), task.highest.get(task.metric, 1.0)


def above(score: float, level: float, count: int, highest: float = 1.0) -> bool:
    """Whether the mean of ``count`` scores from 0 to ``highest`` is above a level: its interval excludes the level.

    The interval takes the largest variance that scores of this range and mean can have.

    >>> above(0.5, 0.25, 400), above(0.28, 0.25, 400), above(0.0, 0.0, 400)
    (True, False, False)
    """
    error = sqrt(max(0.0, score * (highest - score)) / count)
    return score - _WIDTH * error > level


@once_a_task
def chance(task: Task, split: Split) -> float:
    """Return the score of always giving the same answer, whichever scores best on the split.

    It tries the five answers that most examples accept, on at most 1,000 examples, evenly spread. The number of
    examples that a command scores does not change it.
    """
    examples = spread(read_examples(task, split), _EXAMPLES)
    accepted = Counter(answer for example in examples for answer in dict.fromkeys(example.answers))
    likely = sorted(accepted, key=lambda answer: (-accepted[answer], answer))[:_ANSWERS]
    return max(float(np.mean(task.score(examples, [answer] * len(examples))[task.metric])) for answer in likely)


def _split(asked: ScoreSpec) -> Split:
    names: dict[str, Split] = {"train": "train", "validation": "validation", "test": "test"}
    return names[asked.split]
