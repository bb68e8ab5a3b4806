"""The plain values that pass through the pipeline: frozen, with ids, convertible to and from JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal, Self

from bench.canonical import canonical, canonical_frozen, canonical_mapping, canonical_object
from bench.errors import StoreError
from bench.recipe import Recipe, reference_recipe

Scalar = bool | int | float | str | None
SEES_SOURCES = "sees source data"  # how reports say that a training saw examples of the sources
SEES_EARLIER = "sees data of earlier tasks"  # the same of a stage that saw examples of the stages before it
SEES_ALL = "learns all tasks at once"  # the same of a joint training

_LONGEST = 120  # bytes of the tasks in a label, because a file system allows 255 for the name of a folder

FIT_VERSION = 3  # raise it if training or editing gives other numbers
EVAL_VERSION = 3  # raise it if generation or scoring gives other numbers


def digest(value: object) -> str:
    """Return the SHA-256 of a JSON value, as hex; equal values have equal digests."""
    return _sha256(canonical(value))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Resources:
    """How trials run on this machine. No field may change what a trial gives, except by rounding.

    ``workers`` share a trial (each has a GPU or a CPU core); ``micro_batch_size`` is the most examples a worker takes
    at once (None: the recipe's). The first ``plain_blocks`` decoder blocks keep their activations for the backward
    pass, and gradient checkpointing computes the others again (None: all keep them). ``eval_batch_size`` answers are
    generated at once, and a lane keeps at most ``feature_cache_bytes`` of vision features. The lanes of a machine share
    at most ``feature_file_bytes`` of vision features in files.
    """

    workers: int = 1
    micro_batch_size: int | None = None
    plain_blocks: int | None = None
    eval_batch_size: int = 64
    feature_cache_bytes: int = 4 << 30
    feature_file_bytes: int = 20 * 10**9


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a cell: everything that decides what is learnt, and nothing else.

    ``model`` is the base model's revision, ``data`` the fingerprint of the training examples, ``code`` the digest of
    the plugin's source. A trial without rank and target is a reference row: the untouched base model. ``snapshot`` is
    the step of the parent's training whose change is edited; None means the last step. ``sources`` are the tasks whose
    training examples a training may see next to the target's; ``data`` covers these, too. A training whose parent
    learnt another target is the next stage of a sequence of tasks. A joint training learns several tasks
    ``together``; its target is their names joined by +.
    """

    method: str
    hyper: Mapping[str, Scalar]
    rank: int | None
    target: str | None
    seed: int
    recipe: Recipe
    model: str
    data: str
    code: str
    parent: Trial | None = None
    version: int = FIT_VERSION
    snapshot: int | None = None
    sources: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    _id: str | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def id(self) -> str:
        """The training id: 12 hex digits over every field. It is computed when it is first asked for."""
        if self._id is None:
            object.__setattr__(self, "_id", _sha256(self._text())[:12])
        return str(self._id)

    @property
    def is_older(self) -> bool:
        """Whether an older version of retain-bench ran the trial; this version would give other numbers."""
        return self.version < FIT_VERSION

    def is_reference_of(self, other: Trial) -> bool:
        """Whether this trial is the zero-shot reference of another: same base model, evaluated alike."""
        if self.rank is not None or self.model != other.model:
            return False
        return reference_recipe(self.recipe) == reference_recipe(other.recipe)

    def ancestors(self) -> Iterator[Trial]:
        """Yield the trial's parent, the parent's parent and so on."""
        if self.parent is not None:
            yield self.parent
            yield from self.parent.ancestors()

    @property
    def is_edit(self) -> bool:
        """Whether the trial edits its parent's change; a parent that learnt another target is an earlier stage."""
        return self.parent is not None and self.parent.target == self.target

    @property
    def trained(self) -> Trial:
        """The trial whose training it edits, through one edit or several; a trial that trains is its own."""
        return self.parent.trained if self.parent is not None and self.is_edit else self

    @property
    def learns(self) -> tuple[str, ...]:
        """The tasks that the trial itself learns: its target, several in a joint training, none of a reference row."""
        return self.together or (() if self.target is None else (self.target,))

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets of the trial and its ancestors, in order: one for each stage of a sequence of tasks."""
        found = [each.target for each in (self, *self.ancestors()) if each.target is not None]
        return tuple(dict.fromkeys(reversed(found)))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that the trial and its ancestors learn, in order."""
        stages = [each.learns for each in (self, *self.ancestors())]
        return tuple(dict.fromkeys(task for tasks in reversed(stages) for task in tasks))

    @property
    def given(self) -> str:
        """What the trial's change was given that plain LoRA is not, as reports say it, or nothing."""
        if any(each.together for each in (self, *self.ancestors())):
            return SEES_ALL
        seeing = [each for each in (self, *self.ancestors()) if each.sources]
        earlier = all(set(each.sources) < set(each.tasks) for each in seeing)
        return (SEES_EARLIER if earlier else SEES_SOURCES) if seeing else ""

    @property
    def label(self) -> str:
        """A readable name, unique within one command at default hyperparameters."""
        if self.rank is None:
            return self.method
        learnt = self._stages
        if len(learnt.encode()) > _LONGEST:
            learnt = f"{len(self.tasks)}{'+' if self.together else '.'}{self.tasks[-1]}"
        return f"{self.method}-r{self.rank}-{learnt}-s{self.seed}"

    @property
    def _stages(self) -> str:
        """The tasks of the stages so far, each with the edit that followed it."""
        before = self.trained.parent
        if before is None:
            return str(self.target)
        edit = f"+{before.method}" if before.is_edit else ""
        return f"{before._stages}{edit}.{self.target}"

    @property
    def folder(self) -> str:
        """The name of the trial's folder in the run folder."""
        return f"{self.label}-{self.id}"

    def to_json(self) -> dict[str, Any]:
        """Return the trial as JSON, with its parent nested inside."""
        data = _stated({name: getattr(self, name) for name in _FIELDS})
        data["hyper"] = dict(self.hyper)
        data["recipe"] = self.recipe.to_json()
        data["parent"] = self.parent.to_json() if self.parent else None
        return data

    def _text(self) -> str:
        """Return the canonical text of ``to_json``; what many trials share is written once."""
        parts = (
            canonical_mapping(self.hyper),
            "null" if self.parent is None else self.parent._text(),
            canonical(self.rank),
            canonical_frozen(self.recipe, self.recipe.to_json),
            canonical(self.seed),
        )
        first, *others = _between(*_SHARED(self))
        return first + "".join([part + other for part, other in zip(parts, others, strict=True)])

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a trial back from JSON."""
        parent = cls.from_json(data["parent"]) if data["parent"] else None
        recipe = _recipe(data["recipe"])
        sources, together = (tuple(data.get(name, ())) for name in ("sources", "together"))
        return cls(**{**data, "recipe": recipe, "parent": parent, "sources": sources, "together": together})


_recipes: dict[str, Recipe] = {}


def _recipe(data: Mapping[str, Any]) -> Recipe:
    """Return a recipe from its JSON; thousands of records share a few, so one object stands for equal ones."""
    if (shown := repr(data)) not in _recipes:
        _recipes[shown] = Recipe(**data)
    return _recipes[shown]


_FIELDS = tuple(each.name for each in fields(Trial) if each.init)
_OWN = ("hyper", "parent", "rank", "recipe", "seed")  # in the order of canonical JSON: the trials of a grid share more
_SHARED_FIELDS = tuple(name for name in _FIELDS if name not in _OWN)
_SHARED = attrgetter(*_SHARED_FIELDS)
_HOLE = "\0"  # JSON escapes this character, so no value has it


def _stated(data: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a trial that its JSON has; later ones are there only if they are set, to keep old ids."""
    if data["snapshot"] is None:
        del data["snapshot"]
    for name in ("sources", "together"):
        if data[name]:
            data[name] = list(data[name])
        else:
            del data[name]
    return data


@lru_cache(maxsize=1024, typed=True)
def _between(*shared: object) -> tuple[str, ...]:
    """Return the canonical text of a trial before, between and after the values of ``_OWN``."""
    data = _stated(dict(zip(_SHARED_FIELDS, shared, strict=True)))
    texts = {name: canonical(value) for name, value in data.items()}
    return tuple(canonical_object({**texts, **dict.fromkeys(_OWN, _HOLE)}).split(_HOLE))


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
class Job:
    """One job of a lane: a trial, and the scores that it still lacks.

    ``snapshots`` are the steps of the training whose change other trials need; ``rungs`` are the scores that a search
    takes at each of these steps, before it decides whether to stop the training.
    """

    trial: Trial
    asked: tuple[ScoreSpec, ...]
    snapshots: tuple[int, ...] = ()
    rungs: tuple[ScoreSpec, ...] = ()

    def joined(self, other: Job) -> Job:
        """Return one job that does both, for two jobs of the same trial."""
        asked = self.asked if not other.asked else tuple(dict.fromkeys((*self.asked, *other.asked)))
        snapshots = tuple(sorted({*self.snapshots, *other.snapshots}))
        rungs = self.rungs if other.rungs else ()  # a training that one job needs whole is not stopped
        return Job(self.trial, asked, snapshots, rungs)

    @property
    def covers(self) -> tuple[object, ...]:
        """What the job produces: its scores and its snapshots."""
        return (self.asked, self.snapshots)

    def to_json(self) -> dict[str, Any]:
        """Return the job as JSON."""
        return {
            "trial": self.trial.to_json(),
            "asked": [asdict(asked) for asked in self.asked],
            "snapshots": list(self.snapshots),
            "rungs": [asdict(asked) for asked in self.rungs],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a job back from JSON."""
        asked, rungs = (tuple(ScoreSpec(**item) for item in data[name]) for name in ("asked", "rungs"))
        return cls(Trial.from_json(data["trial"]), asked, tuple(data["snapshots"]), rungs)


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
            StoreError: the trial's id is not the one that the record states, or a field is missing.
        """
        try:
            trial = Trial.from_json(data["trial"])
            scores = {key: _score(item) for key, item in data["scores"].items()}
            environment = _shared(data["environment"])
            record = cls(trial, data["status"], scores, Cost(**data["cost"]), environment, data["error"])
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"The record lacks or misspells a field: {error}.") from error
        if trial.id != data["id"]:
            raise StoreError(f"The record states id {data['id']}, but its trial has id {trial.id}.")
        return record


_shared_environments: dict[str, Mapping[str, str]] = {}


def _shared(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return an environment; thousands of scores share a few, so one object stands for equal ones."""
    return _shared_environments.setdefault(repr(environment), environment)


def _score(data: Mapping[str, Any]) -> Score:
    """Return a score from its JSON, in which the records of an older version lack some fields."""
    score = Score(**{**data, "asked": ScoreSpec(**data["asked"])})
    return replace(score, environment=_shared(score.environment))
