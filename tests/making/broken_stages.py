"""Methods for sequences that each break one check of later stages, and one that keeps every rule."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench import (
    Change,
    Start,
    Step,
    lora_adapters,
    lora_change,
)
from bench.checks import stages
from tests.making.broken_trainings import Decay


class ShrinksLater(Decay):
    """Shrinks B from the second stage on; keeps every rule."""

    made_for: ClassVar[Literal["target", "sequence", "joint"]] = "sequence"

    @override
    def start(self, model: nn.Module, start: Start) -> None:
        super().start(model, start)
        for adapter in lora_adapters(model) if start.stage > 1 and self.weight else ():
            adapter.b.mul_(1 - self.weight)


class LearnsEveryTaskAlike(Decay):
    """Does in a sequence what plain LoRA does."""

    made_for: ClassVar[Literal["target", "sequence", "joint"]] = "sequence"

    @override
    def on_update(self, step: Step) -> None:
        """Shrinks nothing."""


class StartsWithAnotherB(Decay):
    """Alters B in every stage, also in the first."""

    @override
    def start(self, model: nn.Module, start: Start) -> None:
        super().start(model, start)
        for adapter in lora_adapters(model):
            adapter.b.add_(0.1)


class ForgetsThatItFolds(Decay):
    """Trains new factors on the earlier ones, and returns both."""

    folds: ClassVar[bool] = True

    @override
    def start(self, model: nn.Module, start: Start) -> None:
        self._previous = start.previous

    @override
    def change(self, model: nn.Module) -> Change:
        return self._previous or lora_change(model)


class StartsByChance(Decay):
    """Draws the start of stage 2 from Python's own generator."""

    @override
    def start(self, model: nn.Module, start: Start) -> None:
        super().start(model, start)
        for adapter in lora_adapters(model) if start.stage > 1 else ():
            adapter.b.add_(random.random() / 10)


class LosesItsCount(Decay):
    """Counts the updates of a stage in a field that no checkpoint holds."""

    @override
    def start(self, model: nn.Module, start: Start) -> None:
        super().start(model, start)
        self._updates = 0

    @override
    def on_update(self, step: Step) -> None:
        super().on_update(step)
        self._updates += 1

    @override
    def keep(self, model: nn.Module) -> Mapping[str, Tensor]:
        return {"updates": torch.tensor([self._updates])}


class KeepsByMoving(Decay):
    """Rescales the factors when it is asked what it keeps."""

    @override
    def keep(self, model: nn.Module) -> Mapping[str, Tensor]:
        for adapter in lora_adapters(model):
            adapter.b.mul_(2)
        return {}


class BanksTheNewTask(Decay):
    """Banks a change for the task that it has just learnt."""

    @override
    def start(self, model: nn.Module, start: Start) -> None:
        super().start(model, start)
        self._tasks = start.tasks

    @override
    def bank(self, model: nn.Module) -> Mapping[str, Change]:
        return {task: lora_change(model) for task in self._tasks}


class StartsAnewWhenOff(Decay):
    """Does not continue what the stage before has learnt."""

    @override
    def start(self, model: nn.Module, start: Start) -> None:
        """Leaves the new factors."""


BROKEN = [
    (stages.check_first_stage_starts_at_the_base_model, StartsWithAnotherB),
    (stages.check_next_stage_reproduces_outputs, ForgetsThatItFolds),
    (stages.check_next_stage_differs_from_lora, LearnsEveryTaskAlike),
    (stages.check_next_stage_is_deterministic, StartsByChance),
    (stages.check_next_stage_resumes, LosesItsCount),
    (stages.check_keep_and_bank_only_read, KeepsByMoving),
    (stages.check_bank_has_only_earlier_tasks, BanksTheNewTask),
    (stages.check_off_continues_as_plain_lora, StartsAnewWhenOff),
]
