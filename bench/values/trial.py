"""A trial: everything that decides what is learnt, with an id over all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, Self

from bench.values.canonical import canonical, canonical_frozen, canonical_mapping, canonical_object, sha256
from bench.values.recipe import Recipe, reference_recipe

Scalar = bool | int | float | str | None
SEES_SOURCES = "sees source data"  # how reports say that a training saw examples of the sources
SEES_EARLIER = "sees data of earlier tasks"  # the same of a stage that saw examples of the stages before it
SEES_ALL = "learns all tasks at once"  # the same of a joint training

_LONGEST = 120  # bytes of the tasks in a label, because a file system allows 255 for the name of a folder

FIT_VERSION = 3  # raise it if training or editing gives other numbers


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
            object.__setattr__(self, "_id", sha256(self._text())[:12])
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
