"""What a trial left behind: its scores, its cost, its environment, or why it failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, Literal, Self

from bench.errors import NewerError, StoreError
from bench.values.recipe import Recipe
from bench.values.scores import Score, ScoreSpec, split_mean
from bench.values.trial import Trial


@dataclass(frozen=True, slots=True)
class Cost:
    """What a trial cost. Seconds are wall time on its lane; memory is the peak of the process or the GPU."""

    train_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    peak_memory_bytes: int = 0
    trainable_parameters: int = 0
    change_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """What a trial left behind. ``scores`` is by score key; ``error`` is the last line of a failure.

    A training that a search stopped gives a record too, but the store does not keep it.
    """

    trial: Trial
    status: Literal["done", "failed", "stopped"]
    scores: Mapping[str, Score] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    environment: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None

    def mean(self, asked: Sequence[ScoreSpec]) -> tuple[float, float] | None:
        """Return Source and Target over the scores asked for, as fractions; None if a score is missing.

        After a stage of a sequence, Target is the mean of the tasks that were learnt so far.
        """
        if not asked or self.lacks(tuple(asked)):
            return None
        return split_mean(asked, {key: score.value for key, score in self.scores.items()}, self.trial.tasks)

    def lacks(self, asked: tuple[ScoreSpec, ...]) -> tuple[ScoreSpec, ...]:
        """Return those of the given score specs that the record has no score for."""
        return tuple(item for item in asked if item.key not in self.scores)

    def failed(self, asked: tuple[ScoreSpec, ...]) -> bool:
        """Return whether the trial failed before it had all the given scores; a later failure hurts none of them."""
        return self.status == "failed" and (not asked or bool(self.lacks(asked)))

    def with_score(self, score: Score, cost: Cost) -> Record:
        """Return the record with one more score."""
        return replace(self, scores={**self.scores, score.asked.key: score}, cost=cost)

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON."""
        return {
            "id": self.trial.id,
            "status": self.status,
            "trial": self.trial.to_json(),
            "scores": {key: asdict(score) for key, score in self.scores.items()},
            "cost": asdict(self.cost),
            "environment": dict(self.environment),
            "error": self.error,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a record back from JSON.

        Raises:
            NewerError: the record has a field that this version does not know.
            StoreError: the trial's id is not the one that the record states, or a field is missing.
        """
        try:
            trial = Trial.from_json(data["trial"])
            scores = {key: _score(item) for key, item in data["scores"].items()}
            environment = _shared(data["environment"])
            record = cls(trial, data["status"], scores, Cost(**data["cost"]), environment, data["error"])
        except (KeyError, TypeError, AttributeError) as error:
            raise _newer(data) or StoreError(f"The record lacks or misspells a field: {error}.") from error
        if data.keys() - _FIELDS and (newer := _newer(data)):
            raise newer
        if trial.id != data["id"]:
            raise StoreError(f"The record states id {data['id']}, but its trial has id {trial.id}.")
        return record


_FIELDS = {"id", *(item.name for item in fields(Record))}


def _newer(data: Any) -> NewerError | None:
    """Return the error for a record with a field that this version does not know, or None if it has none."""
    name = next(_unknown(data), None)
    return None if name is None else NewerError(f"a newer version of retain-bench wrote it, with the field {name!r}")


def _unknown(data: Any) -> Iterator[str]:
    """Yield the fields of a record's JSON that this version does not know; any part of the JSON may be damaged."""
    record = _mapping(data)
    yield from record.keys() - _FIELDS
    yield from _beyond(Cost, record.get("cost"))
    for score in _mapping(record.get("scores")).values():
        yield from _beyond(Score, score)
        yield from _beyond(ScoreSpec, _mapping(score).get("asked"))
    trial = _mapping(record.get("trial"))
    while trial:
        yield from _beyond(Trial, trial)
        yield from _beyond(Recipe, trial.get("recipe"))
        trial = _mapping(trial.get("parent"))


def _beyond(kind: type, data: Any) -> set[str]:
    """Return the keys of a JSON object that are not fields of a class."""
    return _mapping(data).keys() - {item.name for item in fields(kind) if item.init}


def _mapping(data: Any) -> Mapping[str, Any]:
    return data if isinstance(data, Mapping) else {}


_shared_environments: dict[str, Mapping[str, str]] = {}


def _shared(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return an environment; thousands of scores share a few, so one object stands for equal ones."""
    return _shared_environments.setdefault(repr(environment), environment)


def _score(data: Mapping[str, Any]) -> Score:
    """Return a score from its JSON, in which the records of an older version lack some fields."""
    shared = {"asked": _spec(*data["asked"].items()), "environment": _shared(data.get("environment", {}))}
    return Score(**{**data, **shared})


@lru_cache(maxsize=1024, typed=True)
def _spec(*fields: tuple[str, Any]) -> ScoreSpec:
    return ScoreSpec(**dict(fields))
