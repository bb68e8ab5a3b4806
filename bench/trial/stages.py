"""Place a training in a sequence of tasks: what it starts from, and what it leaves for the next stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.errors import TrialError
from bench.model.change import Change
from bench.model.joining import plus
from bench.plugins.method import Batch, Start, TrainMethod
from bench.trial.updates import seed_from
from bench.values.recipe import Recipe
from bench.values.trial import Trial

if TYPE_CHECKING:
    from bench.store.run_folder import Store
    from bench.trial.mixture import Lessons

_BATCH = 32
_START = "start"  # takes the place of an update's index in the seed of ``start``


@dataclass(frozen=True, slots=True)
class Stage:
    """A training's place in a sequence: the targets so far, and what the previous stage left.

    If it ``folds``, the base model holds ``previous`` while the stage trains, and the stage's change is added to it.
    """

    tasks: tuple[str, ...] = ("",)
    previous: Change = field(default_factory=lambda: Change({}))
    kept: Mapping[str, Tensor] = field(default_factory=dict)
    folds: bool = False

    def seed(self, seed: int) -> int:
        """Return the seed of the stage's draws; without it, all stages would draw the same start of A."""
        return seed if len(self.tasks) == 1 else seed_from(seed, len(self.tasks))

    def start(self, lessons: Lessons, recipe: Recipe, seed: int) -> Start:
        """Return what the method's ``start`` receives."""
        generator = torch.Generator().manual_seed(seed_from(seed, _START))
        batches, together = partial(calibration, lessons, recipe), tuple(lessons.tasks)
        return Start(self.tasks, self.previous, self.kept, self.folds, batches, generator, together)

    @contextmanager
    def folded(self, lessons: Lessons) -> Iterator[None]:
        """Let the base model hold the change of the earlier stages, if the stage folds."""
        if not self.folds:
            yield
            return
        with lessons.base.holding(self.previous):
            yield

    def whole(self, own: Change) -> Change:
        """Return the change since the base model, from what the stage itself has learnt."""
        return plus(self.previous, own) if self.folds else own


FIRST = Stage()


def stage_of(trial: Trial, method: TrainMethod, store: Store) -> Stage:
    """Return the stage that a trial trains, read from the trials before it.

    A stage after an edit folds, whatever its method, because an edit may change what was learnt in any way.

    Raises:
        TrialError: the base model is in 4 bits, and cannot hold the change of the earlier stages.
    """
    if trial.parent is None:
        return Stage((str(trial.target),))
    folds = method.folds or trial.parent.is_edit
    if folds and trial.recipe.quantization != "none":
        raise TrialError(f"{trial.label}: a base model in 4 bits cannot hold the earlier stages. Use --base full.")
    previous, kept = store.change_of(trial.parent).read(), store.change_of(trial.parent.trained).kept()
    return Stage(trial.targets, previous, kept, folds)


def calibration(lessons: Lessons, recipe: Recipe, count: int) -> Sequence[Batch]:
    """Return batches of the first ``count`` training examples of the target, or of each task of a joint training."""
    indices = [number for numbers in lessons.taught for number in numbers[:count]]
    parts = [indices[at : at + _BATCH] for at in range(0, len(indices), _BATCH)]
    return [lessons.training_batch(part, recipe.max_length) for part in parts]
