"""Edits that each break one check, and one that keeps every rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from bench import (
    Change,
    Delta,
    Dense,
    EditContext,
    EditMethod,
    LowRank,
)
from bench.checks import edits, trials


@dataclass(kw_only=True)
class Halve(EditMethod):
    """Half of what the parent has learnt; keeps every rule."""

    name: ClassVar[str] = "halve"
    paper: ClassVar[str] = "none: a test"
    off: ClassVar[dict[str, float]] = {"share": 1.0}

    share: float = 0.5

    @override
    def edit(self, change: Change, context: EditContext) -> Change:
        if self.share == 1:
            return change
        return change.replace(
            {
                name: replace(delta, scale=self.share * delta.scale)
                for name, delta in change.items()
                if isinstance(delta, LowRank)
            }
        )


class DropsTheConnector(Halve):
    @override
    def edit(self, change: Change, context: EditContext) -> Change:
        return Change({name: delta for name, delta in change.items() if isinstance(delta, LowRank)})


class ChangesAShape(Halve):
    @override
    def edit(self, change: Change, context: EditContext) -> Change:
        name, delta = next(iter(change.items()))
        assert isinstance(delta, LowRank)
        return change.replace({name: Broadcast(delta.product()[:1])})


@dataclass(frozen=True, slots=True, eq=False)
class Broadcast(Dense):
    @override
    def merged(self, weight: Tensor) -> Tensor:
        return weight[:1] + self.delta


class WritesToItsParent(Halve):
    @override
    def edit(self, change: Change, context: EditContext) -> Change:
        delta: Delta = next(iter(change.values()))
        next(iter(delta.tensors().values())).mul_(0.5)
        return change


class WritesToALayer(Halve):
    @override
    def edit(self, change: Change, context: EditContext) -> Change:
        next(iter(context.layers.values())).weight.mul_(0.5)
        return change


class DrawsGlobally(Halve):
    @override
    def edit(self, change: Change, context: EditContext) -> Change:
        edited = {
            name: replace(delta, a=delta.a * (torch.rand(delta.a.shape) > 0.5))
            for name, delta in change.items()
            if isinstance(delta, LowRank)
        }
        return change.replace(edited)


class EditsWhenOff(Halve):
    off: ClassVar[dict[str, float]] = {"share": 0.9}


class ReturnsNoChange(Halve):
    @override
    def edit(self, change: Change, context: EditContext) -> Any:
        return None


class EditsNothing(Halve):
    @override
    def edit(self, change: Change, context: EditContext) -> Change:
        return change


BROKEN = [
    (trials.check_lane_keeps_no_trace, WritesToALayer),
    (edits.check_edit_keeps_names_and_shapes, DropsTheConnector),
    (edits.check_edit_keeps_names_and_shapes, ChangesAShape),
    (edits.check_edit_keeps_names_and_shapes, ReturnsNoChange),
    (edits.check_edit_leaves_inputs_alone, WritesToItsParent),
    (edits.check_edit_leaves_inputs_alone, WritesToALayer),
    (edits.check_edit_is_deterministic, DrawsGlobally),
    (edits.check_off_returns_deltas_unchanged, EditsWhenOff),
    (edits.check_differs_from_its_parent, EditsNothing),
]
