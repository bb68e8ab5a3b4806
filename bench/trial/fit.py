"""The whole training loop."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import increment_version
from torch.nn.utils import clip_grad_norm_

from bench.errors import TrialError
from bench.model.adapters import on_pristine, tuned_connector
from bench.model.answer_loss import answer_loss
from bench.model.change import Change
from bench.model.families import block_of
from bench.plugins.method import Step, TrainMethod
from bench.store.changes import NO_HANDOVER, Handover
from bench.trial.hooks import called
from bench.trial.mixture import Lessons
from bench.trial.resume import NO_SNAPSHOTS, Checkpoint, Snapshots
from bench.trial.stages import FIRST, Stage
from bench.trial.updates import MicroBatchSize, Undo, draw_alike, schedule_updates, seed_update, tensor_cores
from bench.trial.workers import ALONE, Group
from bench.values.recipe import Recipe

_EVERY_UPDATES = 50

OnUpdate = Callable[[int, int, float], None]


@dataclass(slots=True)
class Fitted:
    """The result of a training: the change, the loss of every update, and the cost.

    ``handover`` is what a stage of a sequence of tasks leaves next to its change. ``micro_batch_size`` is the number of
    examples that every worker could process at once at the end. ``environment`` is what the training ran with, in all
    its attempts if it was resumed.
    """

    change: Change
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    trainable_parameters: int = 0
    micro_batch_size: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    handover: Handover = NO_HANDOVER


def fit(  # noqa: C901, PLR0913, PLR0915  the whole loop is in one place
    method: TrainMethod,
    rank: int,
    seed: int,
    recipe: Recipe,
    corpus: Lessons,
    *,
    stage: Stage = FIRST,
    checkpoint: Path | None = None,
    every: int = _EVERY_UPDATES,
    snapshots: Snapshots = NO_SNAPSHOTS,
    progress: OnUpdate = lambda index, total, loss: None,
    group: Group = ALONE,
    micro_batch: MicroBatchSize | None = None,
    plain_blocks: int | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Fitted:
    """Train ``method`` on a corpus and return the result; resume from ``checkpoint`` if the file exists.

    ``stage`` is the training's place in a sequence of tasks. The checkpoint is written atomically every ``every``
    updates, after 5 minutes, at snapshots, and after the last update. Every worker of ``group`` makes the same call,
    trains on its share of each update's examples, and returns the same result. Decoder blocks after the first
    ``plain_blocks`` are computed again in the backward pass; None means that no block is.

    Raises:
        TrialError: the loss or the penalty is no longer a finite number, or not even one example fits in memory.
    """
    micro_batch = micro_batch or MicroBatchSize()
    seed = stage.seed(seed)
    updates = schedule_updates(method, corpus, recipe, seed)
    torch.manual_seed(seed)
    tree = corpus.base.tree()
    model = called(method.adapt, tree, rank, recipe).train()
    with torch.no_grad():
        called(method.start, model, stage.start(corpus, recipe, seed))
    if plain_blocks is not None:
        _spare_memory(tree, plain_blocks)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer, schedule = _optimizer(method, model, recipe)
    parts = {"optimizer": optimizer, "schedule": schedule}
    reference = partial(_reference, model)
    saved = Checkpoint(checkpoint, parameters, parts, method, group, environment)
    start = saved.load(snapshots)
    snapshots.judge_again(saved, start)

    for index in range(start, len(updates)):
        share, undo, fits = updates[index].share(group), Undo(method), False
        while not fits:  # again in smaller parts if the update did not fit in memory
            generator, total = seed_update(seed, index, group), 0.0
            loss = torch.zeros((), device=corpus.base.device)
            step = Step(index, len(updates), model, {}, loss, optimizer, generator, reference, group.sum)
            try:
                for task, indices in micro_batch.split(share, recipe):
                    batch = corpus.training_batch(indices, recipe.max_length)
                    called(method.on_batch, model, task)
                    with tensor_cores(recipe, loss.device):
                        loss = answer_loss(model, batch, updates[index].target_tokens)
                        step = replace(step, batch=batch, loss=loss, task=task)
                        called(method.backward, step)
                    total += loss.item()
                fits = True
            except torch.OutOfMemoryError:
                optimizer.zero_grad(set_to_none=True)
            if not fits:  # outside the `except` block: the exception's traceback keeps the tensors alive
                del loss, step  # these hold the autograd graph if `backward` ran out of memory
                undo()
                micro_batch.halve(max(map(len, share.values())), recipe)
        total = _sum_gradients(parameters, total, group)
        draw_alike(generator, group)
        if (penalty := called(method.penalty, step)) is not None:
            penalty.backward()  # type: ignore[no-untyped-call]
            _check_finite(method, float(penalty.detach()), index, f"penalty of {method.name}", "penalty")
        called(method.on_gradients, step)
        if recipe.clip is not None:
            clip_grad_norm_(parameters, recipe.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            called(method.on_update, step)
        _check_finite(method, total, index, "loss")
        saved.losses.append(total)
        progress(index + 1, len(updates), total)
        due = (index + 1) % every == 0 or index + 1 == len(updates)
        snapshots.save(saved, index + 1, lambda: stage.whole(_learnt(method, model, corpus)), due=due)

    size = min(group.gather(micro_batch.size(recipe.batch_size, recipe)))
    count = sum(parameter.numel() for parameter in parameters)
    own, seconds = _learnt(method, model, corpus), saved.seconds()
    with torch.no_grad():
        kept, bank = called(method.keep, model), called(method.bank, model)
    handover = Handover(own if stage.folds else None, kept, bank)
    return Fitted(stage.whole(own), saved.losses, seconds, count, size, saved.environment, handover)


def _learnt(method: TrainMethod, model: nn.Module, corpus: Lessons) -> Change:
    """Return what a method has learnt, as it applies to the pristine weights of the base model."""
    return on_pristine(called(method.change, model), model, corpus.base.pristine)


def _sum_gradients(parameters: Sequence[nn.Parameter], loss: float, group: Group) -> float:
    """Sum the workers' gradients in place, and return the sum of their losses.

    A parameter stays without a gradient if no worker has one for it.
    """
    if group.size == 1:
        return loss
    counts = torch.tensor([loss, *(parameter.grad is not None for parameter in parameters)], dtype=torch.float64)
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    group.sum([counts, *(parameter.grad for parameter in parameters if parameter.grad is not None)])
    total, *used = counts.tolist()
    for parameter, count in zip(parameters, used, strict=True):
        if count == 0:
            parameter.grad = None
    return float(total)


def _spare_memory(tree: Any, plain_blocks: int) -> None:
    """Recompute the decoder blocks after the plain ones in the backward pass, with torch's generator as before."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "`gradient_checkpointing_enable`", FutureWarning
        )  # transformers 5.23 renames it
        tree.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for name, module in tree.named_modules():
        if hasattr(module, "gradient_checkpointing") and (block := block_of(f"{name}.")) is not None:
            module.gradient_checkpointing = block >= plain_blocks


def _optimizer(method: TrainMethod, model: nn.Module, recipe: Recipe) -> tuple[Any, Any]:
    """Return AdamW for adapters and connector, each with its own learning rate, and the cosine schedule."""
    from transformers import get_cosine_schedule_with_warmup

    connector = list(tuned_connector(model).values())
    apart = {id(parameter) for parameter in connector}
    adapters = [item for item in model.parameters() if item.requires_grad and id(item) not in apart]
    groups = [
        {"params": adapters, "lr": recipe.lr if method.lr is None else method.lr},
        {"params": connector, "lr": recipe.connector_lr},
    ]
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]], weight_decay=recipe.weight_decay, fused=True
    )
    # the fused AdamW does not count its writes, and DoRA's row norms are computed again only after a write
    optimizer.register_step_post_hook(lambda *_: increment_version([*adapters, *connector]))
    warmup = -int(-recipe.warmup * recipe.updates // 1)
    return optimizer, get_cosine_schedule_with_warmup(optimizer, warmup, recipe.updates)


@contextmanager
def _reference(model: nn.Module) -> Iterator[nn.Module]:
    """Turn the model's adapters off and use its original connector until the context ends."""
    with model.disable_adapter():  # type: ignore[operator]
        yield model


def _check_finite(method: TrainMethod, value: float, index: int, what: str, hook: str = "") -> None:
    if not math.isfinite(value):
        remedy = f"Lower the learning rate (--set {method.name}.lr=…)."
        error = TrialError(f"The {what} is {value} at update {index + 1}. {remedy}")
        error.hook = hook
        raise error
