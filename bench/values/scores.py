"""What a command asks of a score, and the score that came of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from operator import attrgetter

from bench.values.canonical import digest

EVAL_VERSION = 3  # raise it if generation or scoring gives other numbers


@dataclass(frozen=True, slots=True)
class ScoreSpec:
    """One score that a command wants: the task, its split, which examples, and how answers are generated."""

    task: str
    split: str
    count: int
    examples: str
    max_new_tokens: int
    code: str
    version: int = EVAL_VERSION

    @property
    def key(self) -> str:
        """The score key within a trial: 12 hex digits over every field."""
        return _score_key(*_SPEC(self))


_SPEC_FIELDS = tuple(each.name for each in fields(ScoreSpec))
_SPEC = attrgetter(*_SPEC_FIELDS)


@lru_cache(maxsize=1024, typed=True)
def _score_key(*values: str | int) -> str:
    return digest(dict(zip(_SPEC_FIELDS, values, strict=True)))[:12]


def split_mean(asked: Sequence[ScoreSpec], values: Mapping[str, float], learnt: Collection[str]) -> tuple[float, float]:
    """Return Source and Target from values by score key: the mean of the sources, and of the tasks that are learnt."""
    targets = [values[item.key] for item in asked if item.task in learnt]
    sources = [values[item.key] for item in asked if item.task not in learnt]
    return sum(sources) / len(sources), sum(targets) / len(targets)


@dataclass(frozen=True, slots=True)
class Score:
    """The scores of one trial on one task's split: means by metric; ``file`` holds the examples.

    ``seconds`` is the time that generating and scoring took; ``environment`` describes the machine and the versions.
    """

    asked: ScoreSpec
    primary: str
    metrics: Mapping[str, float]
    file: str
    seconds: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """The primary metric's mean, a fraction (CIDEr may exceed 1)."""
        return self.metrics[self.primary]
