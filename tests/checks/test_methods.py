"""One deliberately broken method per check, each as small as it can be, and two that keep every rule."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from bench import (
    Change,
    Delta,
    Dense,
    EditContext,
    EditMethod,
    LowRank,
    PluginError,
    Recipe,
    Start,
    Step,
    TrainMethod,
    hyper,
    insert_lora,
    insert_routed,
    lora_adapters,
    lora_change,
    routed_change,
)
from bench.checks import checks, devices, edits, methods, plugins, stages, training, trials


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
    (stages.check_first_stage_starts_at_the_base_model, StartsWithAnotherB),
    (stages.check_next_stage_reproduces_outputs, ForgetsThatItFolds),
    (stages.check_next_stage_differs_from_lora, LearnsEveryTaskAlike),
    (stages.check_next_stage_is_deterministic, StartsByChance),
    (stages.check_next_stage_resumes, LosesItsCount),
    (stages.check_keep_and_bank_only_read, KeepsByMoving),
    (stages.check_bank_has_only_earlier_tasks, BanksTheNewTask),
    (stages.check_off_continues_as_plain_lora, StartsAnewWhenOff),
    (trials.check_change_survives_saving, ReturnsItsOwnDelta),
    (training.check_mixes_alike, MixesByChance),
    (trials.check_lane_keeps_no_trace, LeavesAGradient),
    (trials.check_lane_keeps_no_trace, CountsItsTrials),
    (trials.check_lane_keeps_no_trace, WritesToALayer),
    (devices.check_runs_on_an_accelerator, MasksOnTheCPU),
    (edits.check_edit_keeps_names_and_shapes, DropsTheConnector),
    (edits.check_edit_keeps_names_and_shapes, ChangesAShape),
    (edits.check_edit_keeps_names_and_shapes, ReturnsNoChange),
    (edits.check_edit_leaves_inputs_alone, WritesToItsParent),
    (edits.check_edit_leaves_inputs_alone, WritesToALayer),
    (edits.check_edit_is_deterministic, DrawsGlobally),
    (edits.check_off_returns_deltas_unchanged, EditsWhenOff),
    (edits.check_differs_from_its_parent, EditsNothing),
]


@pytest.mark.parametrize(("check", "plugin"), [pytest.param(*pair, id=pair[1].__name__) for pair in BROKEN])
def test_a_check_catches_the_plugin_that_breaks_its_rule(check: Any, plugin: type) -> None:
    with pytest.raises(PluginError, match=r"\."):
        check(plugin)


@pytest.mark.parametrize("plugin", [Decay, Mixes, Halve, ShrinksLater])
def test_a_method_that_keeps_every_rule_passes_every_check(plugin: type) -> None:
    for check in checks(plugin):
        check(plugin)


def test_every_check_of_methods_has_a_plugin_that_breaks_it() -> None:
    broken = {check for check, _ in BROKEN}

    assert {*checks(Mixes), *checks(Halve), *checks(ShrinksLater)} == broken


def test_a_penalty_that_works_in_float32_alone_is_caught() -> None:
    with pytest.raises(RuntimeError, match="to have the same dtype"):
        training.check_finite_at_start(NeedsFloat32)


def test_a_name_that_is_not_its_entry_point_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("decaying", f"{__name__}:Decay", "bench.methods")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])

    with pytest.raises(PluginError, match="decaying"):
        plugins.check_name(Decay)
