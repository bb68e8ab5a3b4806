"""Request -> Plan: the cross product, the parents it implies, and what the store has already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from bench.api import EditMethod, Method, Split, TrainMethod
from bench.errors import UsageError
from bench.fingerprint import of_examples, of_plugin
from bench.hyperparameters import values
from bench.registry import ZERO_SHOT, load_method, load_task
from bench.spec import Asked, Recipe, Record, Trial, Work
from bench.store import Store
from bench.suite import Suite
from bench.tuned import Settings, Tuned


@dataclass(frozen=True, slots=True)
class Request:
    """What a command asks for, every name and range checked. ``limit`` bounds the examples of each score.

    ``tuned`` holds the settings of single cells, by method, rank and target; the parents they edit keep ``settings``.
    """

    suite: Suite
    methods: tuple[str, ...]
    ranks: tuple[int, ...]
    targets: tuple[str, ...]
    sources: tuple[str, ...]
    recipe: Recipe
    seeds: tuple[int, ...] = (0,)
    limit: int | None = None
    settings: Settings = field(default_factory=dict)
    split: Split = "test"
    tuned: Tuned = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a request comes to. ``works`` holds parents before children; ``records`` is by trial id."""

    request: Request
    zero_shot: Trial
    cells: tuple[Trial, ...]
    works: tuple[Work, ...]
    records: Mapping[str, Record]

    @property
    def pending(self) -> tuple[Work, ...]:
        """The works that are not done: never run, failed, or lacking a score."""
        return tuple(work for work in self.works if not self.done(work))

    @property
    def trainings(self) -> tuple[Work, ...]:
        """The works that train: each is done once, however many cells use it."""
        return tuple(work for work in self.works if _trains(work.trial.method))

    def done(self, work: Work) -> bool:
        """Whether the store has everything a work is to give."""
        record = self.records.get(work.trial.id)
        if record is None or record.lacks(work.asked):
            return False
        return record.status == "done" or bool(work.asked)  # a failed attempt at more scores leaves these


def make(request: Request, store: Store) -> Plan:
    """Return the plan of a request against what the store has.

    Raises:
        UsageError: an edit's parent does not train.
    """
    zero_shot = Trial(
        method=ZERO_SHOT,
        hyper={},
        rank=None,
        target=None,
        seed=0,
        recipe=_evaluation_only(request.recipe),
        model=request.suite.revision(),
        data="",
        code="",
    )
    works = {zero_shot.id: Work(zero_shot, _asked(request, request.targets))}
    cells = tuple(
        _cell(request, method, rank, target, seed)
        for seed in request.seeds
        for target in request.targets
        for rank in request.ranks
        for method in request.methods
    )
    for trial in cells:
        _add(works, trial, _asked(request, (str(trial.target),)))
    ordered = tuple(sorted(works.values(), key=lambda work: work.trial.parent is not None))
    records = {work.trial.id: record for work in ordered if (record := store.read(work.trial)) is not None}
    return Plan(request, zero_shot, cells, ordered, records)


def _evaluation_only(recipe: Recipe) -> Recipe:
    """Return the recipe as the base model's row needs it: only what evaluation reads may count."""
    return Recipe(
        updates=0,
        batch_size=0,
        lr=0.0,
        connector_lr=0.0,
        eval_dtype=recipe.eval_dtype,
        template=recipe.template,
    )


def _add(works: dict[str, Work], trial: Trial, asked: tuple[Asked, ...]) -> None:
    """Add a trial after its parents; a parent that is no cell itself owes no scores."""
    if trial.parent is not None:
        _add(works, trial.parent, ())
    known = works.get(trial.id)
    if known is None or len(known.asked) < len(asked):
        works[trial.id] = Work(trial, asked)


def _cell(request: Request, name: str, rank: int, target: str, seed: int) -> Trial:
    method = load_method(name)
    parent = None
    if issubclass(method, EditMethod):
        if not issubclass(load_method(method.parent), TrainMethod):
            raise UsageError(f"{name} edits {method.parent!r}, which does not train.")
        parent = _cell(replace(request, tuned={}), method.parent, rank, target, seed)
    return Trial(
        method=name,
        hyper=values(method(**{**request.settings.get(name, {}), **request.tuned.get((name, rank, target), {})})),
        rank=rank,
        target=target,
        seed=seed,
        recipe=request.recipe,
        model=request.suite.revision(),
        data=_fingerprint(target, "train", None),
        code=of_plugin(method),
        parent=parent,
    )


def _asked(request: Request, targets: tuple[str, ...]) -> tuple[Asked, ...]:
    names = dict.fromkeys((*request.sources, *targets))
    return tuple(_ask(name, request.split, request.limit) for name in names)


@cache
def _ask(name: str, split: Split, limit: int | None) -> Asked:
    task = load_task(name)
    total = len(task.examples(split))
    count = total if limit is None else min(limit, total)
    return Asked(
        task=name,
        split=split,
        count=count,
        examples=_fingerprint(name, split, count),
        max_new_tokens=task.max_new_tokens,
        code=of_plugin(type(task)),
    )


@cache
def _fingerprint(name: str, split: Split, count: int | None) -> str:
    task = load_task(name)
    examples = task.examples(split)[:count]
    return of_examples(examples, [task.prompt(example) for example in examples])


def _trains(name: str) -> bool:
    method: type[Method] = load_method(name)
    return issubclass(method, TrainMethod)
