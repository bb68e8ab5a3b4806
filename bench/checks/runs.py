"""Run a method on the tiny model as a lane would, and compare what two runs learn or leave behind."""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from bench.checks.tiny import RANK, RECIPE, Tiny, tiny
from bench.model.change import Change, Delta
from bench.plugins.method import EditMethod, Method, Purpose, Start, Step, TrainMethod
from bench.plugins.registry import Registry
from bench.trial.edit import edit
from bench.trial.evaluate import evaluate
from bench.trial.fit import Fitted, fit
from bench.trial.hooks import called, mixed
from bench.trial.stages import Stage
from bench.values.recipe import Recipe

TASKS = ("squares", "later_squares")  # of the sequence that the checks train

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(kw_only=True)
class Watched(TrainMethod):
    """A method that passes every hook to ``inner`` and keeps the trained model and all gradients.

    The gradients are those after ``on_gradients``. ``shake`` moves every trained parameter away from its start value,
    at which many gradients and penalties are exactly 0.
    """

    paper: ClassVar[str] = ""

    name = property(lambda self: self.inner.name)  # type: ignore[assignment]
    made_for = property(lambda self: self.inner.made_for)  # type: ignore[assignment]

    inner: TrainMethod
    shake: float = 0.0
    model: nn.Module = field(init=False)
    gradients: list[dict[str, Tensor]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.lr = self.inner.lr

    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        self.model = called(self.inner.adapt, model, rank, recipe)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.model.parameters():
                if parameter.requires_grad and self.shake:
                    parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=self.shake)
        return self.model

    @override
    def change(self, model: nn.Module) -> Change:
        return called(self.inner.change, model)

    @override
    def start(self, model: nn.Module, start: Start) -> None:
        called(self.inner.start, model, start)

    @override
    def keep(self, model: nn.Module) -> Mapping[str, Tensor]:
        return called(self.inner.keep, model)

    @override
    def bank(self, model: nn.Module) -> Mapping[str, Change]:
        return called(self.inner.bank, model)

    @override
    def mix(self, order: Sequence[int], sources: Mapping[str, range], generator: torch.Generator) -> Sequence[int]:
        return mixed(self.inner.mix, order, sources, generator)

    @override
    def on_batch(self, model: nn.Module, task: str) -> None:
        called(self.inner.on_batch, model, task)

    @override
    def backward(self, step: Step) -> None:
        called(self.inner.backward, step)

    @override
    def penalty(self, step: Step) -> Tensor | None:
        return called(self.inner.penalty, step)

    @override
    def on_gradients(self, step: Step) -> None:
        called(self.inner.on_gradients, step)
        self.gradients.append(
            {
                name: parameter.grad.clone()
                for name, parameter in step.model.named_parameters()
                if parameter.grad is not None
            }
        )

    @override
    def on_update(self, step: Step) -> None:
        called(self.inner.on_update, step)


def train(method: TrainMethod, bench: Tiny | None = None, *, recipe: Recipe = RECIPE, rank: int = RANK) -> Fitted:
    """Train a method for six updates on the tiny model and return the result."""
    return fit(method, rank, 0, recipe, (bench or tiny()).lessons_of(method))


def begun(method: TrainMethod) -> Fitted:
    """Train the first stage of a sequence on the tiny model and return the result."""
    return fit(method, RANK, 0, RECIPE, tiny().lessons, stage=Stage(TASKS[:1]))


def following(method: TrainMethod, first: Fitted) -> Stage:
    """Return the second stage of a sequence, which follows a first one."""
    return Stage(TASKS, first.change, first.handover.kept, folds=method.folds)


def continued(
    method: TrainMethod,
    stage: Stage,
    bench: Tiny | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[int, int, float], None] = lambda index, total, loss: None,
) -> Fitted:
    """Train the second stage of a sequence, on another task, and return the result."""
    later, every = (bench or tiny()).later, RECIPE.updates // 2
    with stage.folded(later):
        return fit(method, RANK, 0, RECIPE, later, stage=stage, checkpoint=checkpoint, every=every, progress=progress)


def learn(
    method: Method, bench: Tiny | None = None, *, recipe: Recipe = RECIPE, registry: Registry | None = None
) -> Change:
    """Return what a method learns on the tiny model, by training or by editing its parent's change.

    ``registry`` knows the parent; without it, the installed plugins do.
    """
    bench = bench or tiny()
    if isinstance(method, TrainMethod):
        fitted = train(method, bench, recipe=recipe)
    elif isinstance(method, EditMethod):
        fitted = edit(method, parent_change(type(method), registry, recipe), 0, recipe, bench.train)
    else:
        return Change({})
    return fitted.change


def parent_change(plugin: type[EditMethod], registry: Registry | None = None, recipe: Recipe = RECIPE) -> Change:
    """Return what the parent of an edit learns at its defaults; each call returns new tensors."""
    parent = (registry or Registry()).method(plugin.parent)
    return copy.deepcopy(_change_of(parent, recipe))


@cache
def _change_of(parent: type[Method], recipe: Recipe) -> Change:
    return learn(parent(), recipe=recipe)


@cache
def learnt(plugin: type[Method], registry: Registry | None = None) -> Change:
    """Return what a method learns at its defaults: it learns once for all checks that only read the change."""
    with global_generators(1):
        return learn(plugin(), registry=registry)


def plain_lora(lr: float | None, made_for: Purpose) -> TrainMethod:
    """Return plain LoRA with the learning rate of another method, which learns the tasks that this method learns."""
    baseline = Registry().method("lora")
    assert issubclass(baseline, TrainMethod)
    alike: type[TrainMethod] = type(baseline.__name__, (baseline,), {"made_for": made_for})
    return alike(lr=lr)


@cache
def plain_change(lr: float | None, made_for: Purpose, recipe: Recipe = RECIPE) -> Change:
    """Return what ``plain_lora`` learns. Only read it: the checks of many methods compare with it."""
    return learn(plain_lora(lr, made_for), recipe=recipe)


@cache
def plain_second(lr: float | None, made_for: Purpose, *, folds: bool = False) -> Change:
    """Return what ``plain_lora`` has learnt after a second stage, perhaps on the merged change of the first one.

    Only read it: the checks of many methods compare with it.
    """
    first = begun(plain_lora(lr, made_for))
    return continued(plain_lora(lr, made_for), replace(following(plain_lora(lr, made_for), first), folds=folds)).change


def answers_with(change: Change, bench: Tiny) -> list[str]:
    """Return the answers of base + change to the test questions."""
    with bench.base.holding(change) as model:
        answers = evaluate(model, bench.test, bench.asked)
    return [answer.prediction for answer in answers]


def unequal(one: Change, other: Change) -> list[str]:
    """Return the names of the parameters whose deltas differ in kind or in any bit."""
    names = dict.fromkeys([*one, *other])
    return [name for name in names if name not in one or name not in other or not _same(one[name], other[name])]


def effects(change: Change, bench: Tiny) -> dict[str, Tensor]:
    """Return each parameter that a change names, with the change applied, in float32, if the change merges."""
    weights = bench.base.pristine
    return {name: delta.merged(weights[name].float()) for name, delta in change.items() if delta.merges}


@torch.no_grad()
def logits(model: nn.Module, bench: Tiny) -> Tensor:
    """Return a model's float32 outputs for the first training examples."""
    scores: Tensor = model.eval()(**bench.batch(), use_cache=False).logits
    return scores.float()


@contextmanager
def global_generators(seed: int) -> Iterator[None]:
    """Seed every global generator, and restore the caller's states at the end."""
    state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)  # a careless plugin draws from this generator
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(numpy_state)


def trace(bench: Tiny) -> dict[str, object]:
    """Return everything that a trial could leave behind in a lane, as values by description."""
    model = bench.base.model
    found: dict[str, object] = {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "the model's configuration": str(model.config),
        "the generation settings": str(model.generation_config),
    }
    for kind, tensors in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        for name, tensor in tensors:
            found[f"the bytes of {kind} {name}"] = digest(tensor)
            found[f"requires_grad of {kind} {name}"] = tensor.requires_grad
            found[f"the gradient of {kind} {name}"] = tensor.grad is None
            found[f"the hooks of {kind} {name}"] = len(tensor._backward_hooks or ())
    for name, tensor in bench.base.pristine.items():
        found[f"the pristine bytes of {name}"] = digest(tensor)
    for name, module in model.named_modules():
        found[f"the class of module {name}"] = type(module)
        found[f"the mode of module {name}"] = module.training
        found[f"the hooks of module {name}"] = sum(len(getattr(module, hooks)) for hooks in _HOOKS)
        found[f"the forward of module {name}"] = "forward" in vars(module)
    return found


def traces(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Return the descriptions whose values differ between two calls of ``trace``."""
    names = dict.fromkeys([*before, *after])
    return [name for name in names if before.get(name) != after.get(name)]


def digest(tensor: Tensor) -> str:
    """Return the digest of a tensor's dtype, shape and bytes."""
    content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode() + content).hexdigest()


def few(names: list[str]) -> str:
    """Return the first two names and how many more there are, for a message."""
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(names[:2]) + more


def _same(one: Delta, other: Delta) -> bool:
    tensors, others = one.tensors(), other.tensors()
    return (
        type(one) is type(other)
        and one.settings() == other.settings()
        and tensors.keys() == others.keys()
        and all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())
    )
