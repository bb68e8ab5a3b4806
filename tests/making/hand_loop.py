"""A training loop written out by hand: what some layers add to their outputs is given as a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.checks.tiny import Tiny
from bench.plugins.method import TrainMethod
from bench.plugins.registry import Registry
from bench.trial.stages import Stage
from bench.trial.updates import schedule_updates
from bench.values.recipe import Recipe

Effect = Callable[[str, Tensor, Tensor], Tensor]  # layer, inputs [n, tokens, in], ids [n, tokens] -> outputs added


def train_by_hand(
    bench: Tiny,
    stage: Stage,
    recipe: Recipe,
    layers: Mapping[str, Sequence[Tensor]],
    effect: Effect,
    penalty: Callable[[], Tensor | None],
) -> None:
    """Train the tensors of layers in place by AdamW with a cosine, on the updates of a stage."""
    tree, ids = bench.base.tree(), list[Tensor]()

    def add(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + effect(name, inputs[0], ids[-1])

    for name in layers:
        tree.get_submodule(name.removesuffix(".weight")).register_forward_hook(partial(add, name))
    baseline: Any = Registry().method("lora")()
    assert isinstance(baseline, TrainMethod)
    trained = [tensor for tensors in layers.values() for tensor in tensors]
    optimizer = torch.optim.AdamW(trained, lr=recipe.lr, weight_decay=recipe.weight_decay)
    for index, update in enumerate(schedule_updates(baseline, bench.lessons, recipe, stage.seed(0))):
        batch = bench.lessons.training_batch(update.examples, recipe.max_length)
        ids.append(batch["input_ids"])
        loss = tree(**batch, num_items_in_batch=update.target_tokens, use_cache=False).loss
        term = penalty()
        whole = loss if term is None else loss + term
        optimizer.param_groups[0]["lr"] = recipe.lr * 0.5 * (1 + math.cos(math.pi * index / recipe.updates))
        optimizer.zero_grad()
        whole.backward()
        optimizer.step()
