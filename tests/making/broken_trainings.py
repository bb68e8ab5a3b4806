"""Methods that train, each as small as it can be: one for each check that it breaks, and two that keep every rule."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench import (
    Change,
    Dense,
    LowRank,
    Recipe,
    Step,
    TrainMethod,
    hyper,
    insert_lora,
    insert_routed,
    lora_adapters,
    lora_change,
    routed_change,
)
from bench.checks import devices, methods, plugins, training, trials


@dataclass(kw_only=True)
class Decay(TrainMethod):
    """W = W0 + scale * B A with B shrunk by ``weight`` after every update; keeps every rule."""

    name: ClassVar[str] = "decay"
    paper: ClassVar[str] = "none: a test"
    off: ClassVar[dict[str, float]] = {"weight": 0.0}

    weight: float = hyper(0.1, low=0.01, high=0.5)

    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        return insert_lora(model, rank, recipe)

    @override
    def change(self, model: nn.Module) -> Change:
        return lora_change(model)

    @override
    def on_update(self, step: Step) -> None:
        if self.weight:
            for adapter in lora_adapters(step.model):
                adapter.b.mul_(1 - self.weight)


class BadName(Decay):
    name: ClassVar[str] = "Bad-Name"


class Mixes(Decay):
    """Sees the last source in every other place."""

    @override
    def mix(self, order: Sequence[int], sources: Mapping[str, range], generator: torch.Generator) -> Sequence[int]:
        if self.weight == 0:
            return order
        *_, last = sources.values()
        return [last[place % len(last)] if place % 2 else number for place, number in enumerate(order)]


class MixesByChance(Decay):
    """Draws from Python's own generator."""

    @override
    def mix(self, order: Sequence[int], sources: Mapping[str, range], generator: torch.Generator) -> Sequence[int]:
        return random.sample(order, len(order))


class NoSource(Decay):
    """Cites nothing."""

    paper: ClassVar[str] = ""


@dataclass(kw_only=True)
class NoDocstring(Decay):
    more: float = 0.0


class NotADataclass(Decay):
    more: float = hyper(0.5, low=0.1, high=1.0)


@dataclass(kw_only=True)
class NeedsAnArgument(Decay):
    more: float


class MisspeltHook(Decay):
    def on_gradient(self, step: Step) -> None:
        """Is never called."""


@dataclass(kw_only=True)
class DefaultOutsideItsRange(Decay):
    more: float = hyper(2.0, low=0.1, high=1.0)


class OffNamesNoHyperparameter(Decay):
    off: ClassVar[dict[str, float]] = {"wieght": 0.0}


@dataclass(kw_only=True)
class HoldsAFunction(Decay):
    schedule_: Callable[[int], int] = field(init=False, default_factory=lambda: lambda index: index)


class ThawsTheHead(Decay):
    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        wrapped = insert_lora(model, rank, recipe)
        wrapped.get_submodule("base_model.model.lm_head").requires_grad_(requires_grad=True)
        return wrapped


class WritesToTheBase(Decay):
    @override
    def on_update(self, step: Step) -> None:
        next(lora_adapters(step.model)).weight.mul_(0.5)


class StartsElsewhere(Decay):
    @override
    @torch.no_grad()
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        wrapped = insert_lora(model, rank, recipe)
        for adapter in lora_adapters(wrapped):
            adapter.b.fill_(0.1)
        return wrapped


class NormOfZero(Decay):
    @override
    def penalty(self, step: Step) -> Tensor:
        return torch.stack([item.b.square().sum().sqrt() for item in lora_adapters(step.model)]).sum()


class NeedsFloat32(Decay):
    @override
    def penalty(self, step: Step) -> Tensor:
        return torch.stack([(item.weight @ item.a.T).sum() for item in lora_adapters(step.model)]).sum()


class ReturnsANumber(Decay):
    @override
    def penalty(self, step: Step) -> Any:
        return 1.0


class DrawsFromPython(Decay):
    @override
    def on_update(self, step: Step) -> None:
        for adapter in lora_adapters(step.model):
            adapter.b.mul_(random.random())


class ForgetsItsSettings(Decay):
    @override
    def on_update(self, step: Step) -> None:
        self.weight *= 0.5


class ReturnsHalf(Decay):
    @override
    def change(self, model: nn.Module) -> Change:
        change = lora_change(model)
        return Change({k: replace(v, scale=v.scale / 2) if isinstance(v, LowRank) else v for k, v in change.items()})


class AlwaysTunesTheConnector(Decay):
    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        return insert_lora(model, rank, replace(recipe, connector="full"))


class NeverTunesTheConnector(Decay):
    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        return insert_lora(model, rank, replace(recipe, connector="frozen"))


class HidesThatItIsRouted(Decay):
    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        return insert_routed(model, rank, recipe, experts=3, depends=False, scores=True, freeze=True)

    @override
    def change(self, model: nn.Module) -> Change:
        return routed_change(model)


class SaysThatItIsRouted(Decay):
    merges: ClassVar[bool] = False


class IgnoresTheRank(Decay):
    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        return insert_lora(model, 2, recipe)


class DoesNothing(Decay):
    @override
    def on_update(self, step: Step) -> None:
        pass


class DrawsWhenOff(Decay):
    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        torch.rand(1)  # A starts elsewhere than plain LoRA's
        return super().adapt(model, rank, recipe)


class LosesItsMask(Decay):
    """Prunes A once and holds the mask, but where no checkpoint looks."""

    @override
    def on_update(self, step: Step) -> None:
        adapters = list(lora_adapters(step.model))
        if step.index == 0:
            self.masks = [adapter.a.abs() > adapter.a.abs().median() for adapter in adapters]
        for adapter, mask in zip(adapters, getattr(self, "masks", ()), strict=False):
            adapter.a.mul_(mask)


@dataclass(kw_only=True)
class KeepsAGenerator(Decay):
    source_: Any = field(init=False, default_factory=torch.Generator)


class PenaltyPerMicroBatch(Decay):
    @override
    def backward(self, step: Step) -> None:
        extra = torch.stack([item.b.square().sum() for item in lora_adapters(step.model)]).sum()
        (step.loss + extra).backward()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True, eq=False)
class Own(Dense):
    kind: ClassVar[str] = "own"


class ReturnsItsOwnDelta(Decay):
    @override
    def change(self, model: nn.Module) -> Change:
        return Change({k: Own(v.product()) for k, v in lora_change(model).items() if isinstance(v, LowRank)})


class LeavesAGradient(Decay):
    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        weight = model.get_parameter("lm_head.weight")
        weight.grad = torch.zeros_like(weight)
        return insert_lora(model, rank, recipe)


class CountsItsTrials(Decay):
    trials: ClassVar[list[int]] = []

    @override
    def on_update(self, step: Step) -> None:
        if step.index == 0:
            self.trials.append(0)
        for adapter in lora_adapters(step.model):
            adapter.b.mul_(1 / len(self.trials))


class MasksOnTheCPU(Decay):
    @override
    def on_update(self, step: Step) -> None:
        for adapter in lora_adapters(step.model):
            adapter.b.mul_(torch.ones(adapter.b.shape))


BROKEN = [
    (plugins.check_name, BadName),
    (plugins.check_cites_its_source, NoSource),
    (plugins.check_cites_its_source, NoDocstring),
    (plugins.check_builds_from_defaults, NotADataclass),
    (plugins.check_builds_from_defaults, NeedsAnArgument),
    (plugins.check_hooks_are_known, MisspeltHook),
    (methods.check_space_contains_default, DefaultOutsideItsRange),
    (methods.check_space_contains_default, OffNamesNoHyperparameter),
    (methods.check_pickles, HoldsAFunction),
    (training.check_trains_adapters_only, ThawsTheHead),
    (training.check_trains_adapters_only, WritesToTheBase),
    (training.check_trains_adapters_only, ReturnsANumber),
    (training.check_starts_at_the_base_model, StartsElsewhere),
    (training.check_finite_at_start, NormOfZero),
    (training.check_is_deterministic, DrawsFromPython),
    (training.check_keeps_hyperparameters, ForgetsItsSettings),
    (training.check_deltas_reproduce_outputs, ReturnsHalf),
    (training.check_declares_whether_its_change_merges, HidesThatItIsRouted),
    (training.check_declares_whether_its_change_merges, SaysThatItIsRouted),
    (training.check_obeys_the_connector_policy, AlwaysTunesTheConnector),
    (training.check_obeys_the_connector_policy, NeverTunesTheConnector),
    (training.check_rank_scales_parameters, IgnoresTheRank),
    (training.check_differs_from_lora, DoesNothing),
    (training.check_off_equals_plain_lora, DrawsWhenOff),
    (training.check_resumes, LosesItsMask),
    (training.check_resumes, KeepsAGenerator),
    (training.check_accumulates, PenaltyPerMicroBatch),
    (trials.check_change_survives_saving, ReturnsItsOwnDelta),
    (training.check_mixes_alike, MixesByChance),
    (trials.check_lane_keeps_no_trace, LeavesAGradient),
    (trials.check_lane_keeps_no_trace, CountsItsTrials),
    (devices.check_runs_on_an_accelerator, MasksOnTheCPU),
]
