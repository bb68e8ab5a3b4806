"""Train the stages of a sequence on the tiny model: with the engine's loop, and by hand from a method's equations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from bench.checks.tiny import RANK, RECIPE, Tiny, tiny
from bench.model.adapters import insert_lora, lora_adapters
from bench.plugins.method import TrainMethod
from bench.plugins.registry import Registry
from bench.recipe import Recipe
from bench.trial.fit import Fitted, fit
from bench.trial.stages import FIRST, Stage
from bench.trial.updates import schedule_updates

PLAIN = replace(RECIPE, dropout=0.0)


def stage_after(fitted: Fitted, method: TrainMethod, number: int) -> Stage:
    """Return stage ``number`` of a sequence, which follows what the stage before has left."""
    tasks = tuple(f"task{place}" for place in range(1, number + 1))
    kept = {name: value.detach().cpu().clone() for name, value in fitted.handover.kept.items()}
    return Stage(tasks, fitted.change, kept, method.folds)


def train_stage(method: TrainMethod, stage: Stage, bench: Tiny | None = None, **how: Any) -> Fitted:
    """Train one stage on the tiny model."""
    bench, recipe = bench or tiny(), how.pop("recipe", PLAIN)
    with stage.folded(bench.lessons):
        return fit(method, RANK, 0, recipe, bench.lessons, stage=stage, **how)


def train_stages(make: Callable[[], TrainMethod], count: int, recipe: Recipe = PLAIN) -> list[Fitted]:
    """Train the first stages of a sequence, each by a new instance of the method."""
    done = [train_stage(make(), FIRST, recipe=recipe)]
    for number in range(2, count + 1):
        method = make()
        done.append(train_stage(method, stage_after(done[-1], method, number), recipe=recipe))
    return done


class _Killed(Exception):  # noqa: N818  it simulates a kill signal
    """Ends a training as a kill would."""


def killed_and_resumed(make: Callable[[], TrainMethod], stage: Stage, folder: Path) -> Fitted:
    """Train a stage that is killed after a checkpoint, and resume it with a new instance of the method."""

    def die(index: int, total: int, loss: float) -> None:
        if index == 5:
            raise _Killed

    how: dict[str, Any] = {"checkpoint": folder / "checkpoint.pt", "every": 3}
    with suppress(_Killed):
        train_stage(make(), stage, progress=die, **how)
    assert how["checkpoint"].is_file()
    return train_stage(make(), stage, **how)


class Equations(Protocol):
    """The equations of a layer: its trained tensors, Delta W, and the gradients of the tensors from G = dL/dW."""

    def trained(self) -> Sequence[Tensor]:
        """Return the tensors that are trained."""

    def delta(self) -> Tensor:
        """Return Delta W [out, in]."""

    def gradients(self, g: Tensor) -> Sequence[Tensor]:
        """Return the gradient of each trained tensor."""


@dataclass
class Product:
    """Delta W = scale * B A."""

    b: Tensor
    a: Tensor
    scale: float

    def trained(self) -> Sequence[Tensor]:
        return self.b, self.a

    def delta(self) -> Tensor:
        return self.scale * self.b @ self.a

    def gradients(self, g: Tensor) -> Sequence[Tensor]:
        return self.scale * g @ self.a.T, self.scale * self.b.T @ g


def drawn(bench: Tiny, recipe: Recipe) -> dict[str, Product]:
    """Return the layers of stage 1 as LoRA draws them for the seed 0."""
    torch.manual_seed(0)
    adapters = lora_adapters(insert_lora(bench.base.tree(), RANK, recipe))
    return {item.name: Product(item.b.detach().clone(), item.a.detach().clone(), item.scale) for item in adapters}


def connector_of(bench: Tiny) -> dict[str, Tensor]:
    """Return copies of the connector's parameters."""
    return {name: value.clone() for name, value in bench.base.pristine.items() if "projector" in name}


def train_by_hand(
    bench: Tiny, stage: Stage, recipe: Recipe, layers: Mapping[str, Equations], connector: Mapping[str, Tensor]
) -> None:
    """Train layers and connector in place: from each weight's own gradient, the equations give those of its tensors."""
    baseline = Registry().method("lora")()
    assert isinstance(baseline, TrainMethod)
    factors = [tensor for layer in layers.values() for tensor in layer.trained()]
    groups = [{"params": factors, "lr": recipe.lr}, {"params": [*connector.values()], "lr": recipe.connector_lr}]
    optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
    cosine = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / recipe.updates))
    )
    for update in schedule_updates(baseline, bench.lessons, recipe, stage.seed(0)):
        weights = {name: bench.base.pristine[name] + layer.delta() for name, layer in layers.items()}
        leaves = {name: value.detach().requires_grad_() for name, value in (weights | {**connector}).items()}
        batch = bench.lessons.training_batch(update.examples, recipe.max_length)
        words = {**batch, "num_items_in_batch": update.target_tokens, "use_cache": False}
        loss = torch.func.functional_call(bench.base.model, leaves, (), words).loss
        slopes = dict(zip(leaves, torch.autograd.grad(loss, [*leaves.values()]), strict=True))
        for name, layer in layers.items():
            for tensor, gradient in zip(layer.trained(), layer.gradients(slopes[name]), strict=True):
                tensor.grad = gradient
        for name, value in connector.items():
            value.grad = slopes[name]
        optimizer.step()
        cosine.step()
