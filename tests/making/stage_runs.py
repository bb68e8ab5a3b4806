"""Train stages of a sequence of tasks on the tiny model, with the engine's loop and by hand from the equations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.checks.tiny import RANK, RECIPE, Tiny, tiny
from bench.plugins.method import TrainMethod
from bench.plugins.registry import Registry
from bench.recipe import Recipe
from bench.trial.fit import Fitted, fit
from bench.trial.stages import FIRST, Stage
from bench.trial.updates import Update, schedule_updates

PLAIN = replace(RECIPE, dropout=0.0)


class _Killed(Exception):  # noqa: N818  it simulates a kill signal
    """Ends a training as a kill would."""


def stage_after(fitted: Fitted, method: TrainMethod, number: int) -> Stage:
    """Return stage ``number`` of a sequence, which follows what the stage before has left."""
    kept = {name: value.detach().cpu().clone() for name, value in fitted.handover.kept.items()}
    return Stage(tuple(f"task{place}" for place in range(1, number + 1)), fitted.change, kept, method.folds)


def train_stage(method: TrainMethod, stage: Stage = FIRST, bench: Tiny | None = None, **how: Any) -> Fitted:
    """Train one stage on the tiny model, at its rank and with dropout 0."""
    bench, recipe = bench or tiny(), how.pop("recipe", PLAIN)
    with stage.folded(bench.lessons):
        return fit(method, RANK, 0, recipe, bench.lessons, stage=stage, **how)


def killed_and_resumed(make: Callable[[], TrainMethod], stage: Stage, folder: Path) -> Fitted:
    """Train a stage that is killed two updates after a checkpoint, and resume it with a new instance of the method."""

    def die(index: int, total: int, loss: float) -> None:
        if index == 5:
            raise _Killed

    how: dict[str, Any] = {"checkpoint": folder / "checkpoint.pt", "every": 3}
    with suppress(_Killed):
        train_stage(make(), stage, progress=die, **how)
    assert how["checkpoint"].is_file()
    return train_stage(make(), stage, **how)


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
