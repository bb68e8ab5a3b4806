"""Train a stage of a sequence of tasks by hand: from a method's equations, with autograd for the weights alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bench.checks.tiny import RANK, Tiny
from bench.model.adapters import insert_lora, lora_adapters
from bench.plugins.method import TrainMethod
from bench.plugins.registry import Registry
from bench.trial.stages import Stage
from bench.trial.updates import Update, schedule_updates
from bench.values.recipe import Recipe


def slopes(
    bench: Tiny, weights: Mapping[str, Tensor], batch: Mapping[str, Tensor], tokens: int
) -> tuple[float, dict[str, Tensor]]:
    """Return the loss of a batch, a sum divided by ``tokens``, at some weights of the base model, and its slopes."""
    leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
    words = {**batch, "num_items_in_batch": tokens, "use_cache": False}
    loss = torch.func.functional_call(bench.base.model, leaves, (), words).loss
    return loss.item(), dict(zip(leaves, torch.autograd.grad(loss, [*leaves.values()]), strict=True))


def descent(factors: Sequence[Tensor], connector: Sequence[Tensor], recipe: Recipe) -> Callable[[], None]:
    """Return a function that takes one step of AdamW on a cosine schedule, with the gradients in ``.grad``."""
    groups = [{"params": [*factors], "lr": recipe.lr}, {"params": [*connector], "lr": recipe.connector_lr}]
    optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
    cosine = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.5 * (1 + math.cos(math.pi * k / recipe.updates)))

    def step() -> None:
        optimizer.step()
        cosine.step()

    return step


def updates_of(stage: Stage, bench: Tiny, recipe: Recipe) -> list[Update]:
    """Return the updates of a stage whose seed is 0."""
    return schedule_updates(baseline(), bench.lessons, recipe, stage.seed(0))


def baseline() -> TrainMethod:
    """Return plain LoRA."""
    lora = Registry().method("lora")()
    assert isinstance(lora, TrainMethod)
    return lora


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
    step = descent([tensor for layer in layers.values() for tensor in layer.trained()], [*connector.values()], recipe)
    for update in updates_of(stage, bench, recipe):
        weights = {name: bench.base.pristine[name] + layer.delta() for name, layer in layers.items()}
        batch = bench.lessons.training_batch(update.examples, recipe.max_length)
        _, gradients = slopes(bench, weights | {**connector}, batch, update.target_tokens)
        for name, layer in layers.items():
            for tensor, gradient in zip(layer.trained(), layer.gradients(gradients[name]), strict=True):
                tensor.grad = gradient
        for name, value in connector.items():
            value.grad = gradients[name]
        step()
