"""How many bytes the changes of a plan take on disk, with what stages leave next to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from bench.plan.plan import Plan
from bench.plugins.method import Dimensions, TrainMethod
from bench.prepare.price.memory import change_bytes
from bench.trial.hooks import called
from bench.values.trial import Trial

_Kind: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class ChangeSizes:
    """The sizes of a plan's changes; each is computed once for trials that differ in seed alone.

    ``dimensions`` gives those of a trial, and ``trained`` how many parameters its training adapts (0 for an edit).
    """

    plan: Plan
    dimensions: Callable[[Trial], Dimensions]
    trained: Callable[[Trial], int]
    _known: dict[_Kind, int] = field(default_factory=dict)

    def of(self, trial: Trial) -> int:
        """Return the bytes of a trial's change on disk."""
        if (kind := _kind(trial)) not in self._known:
            self._known[kind] = self._change(trial)
        return self._known[kind]

    def totals(self) -> tuple[int, int]:
        """Return the bytes of all changes and their snapshots, and of all that stages leave next to them."""
        alike = dict[_Kind, list[int]]()
        first = dict[_Kind, Trial]()
        for job in self.plan.jobs:
            kind = _kind(job.trial)
            first.setdefault(kind, job.trial)
            alike.setdefault(kind, []).append(1 + len(job.snapshots))
        changes = sum(self.of(trial) * sum(alike[kind]) for kind, trial in first.items())
        left = sum(self._left(trial) * len(alike[kind]) for kind, trial in first.items())
        return changes, left

    def _change(self, trial: Trial) -> int:
        if trial.rank is None:
            return 0
        before = self._earlier(trial)
        parent = self._own(trial.parent) if trial.parent and trial.is_edit else None
        own = self._own(trial, parent)
        if not before:
            return own
        # a sum with a sparse or dense change is dense
        dense = any(self.plan.method(each).change_bytes(self.dimensions(each)) for each in before if each.is_edit)
        whole = 4 * sum(layer.entries for layer in self.dimensions(trial).layers)
        return whole if dense else own + self.of(before[0])

    def _own(self, trial: Trial, parent: int | None = None) -> int:
        """Return the bytes of what a trial itself has learnt, or made of its ``parent``."""
        return change_bytes(self.plan.method(trial), parent, self.dimensions(trial), self.trained(trial))

    def _earlier(self, trial: Trial) -> tuple[Trial, ...]:
        """Return the trials of the stages whose change a trial adds its own to, the last first."""
        before, method = trial.trained.parent, self.plan.method(trial.trained)
        if before is None or not (before.is_edit or (isinstance(method, TrainMethod) and method.folds)):
            return ()
        return (before, *before.ancestors())

    def _left(self, trial: Trial) -> int:
        """Return the bytes that a trial leaves next to its change for later stages and for earlier tasks."""
        method, stage = self.plan.method(trial), len(trial.tasks)
        if not isinstance(method, TrainMethod):
            return 0
        own = self._own(trial) if self._earlier(trial) else 0
        return own + called(method.left_bytes, self.dimensions(trial), stage)


def _kind(trial: Trial) -> _Kind:
    """Return what the size of a trial's change depends on: all but seed and data; a plan keeps the objects alive."""
    before = _kind(trial.parent) if trial.parent else None
    stage = (len(trial.learns), len(trial.tasks), trial.is_edit, before)
    return (trial.method, id(trial.hyper), trial.rank, id(trial.recipe), *stage)
