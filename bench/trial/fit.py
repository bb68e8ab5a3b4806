"""The training loop, whole."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from bench.errors import TrialError
from bench.model.adapters import tuned_connector
from bench.model.change import Change
from bench.plugins.method import Step, TrainMethod
from bench.spec import Recipe
from bench.trial.corpus import Corpus
from bench.trial.resume import NO_SNAPSHOTS, Checkpoint, Snapshots
from bench.trial.updates import Room, Undo, draw_alike, schedule_updates, seed_update, tensor_cores
from bench.trial.workers import ALONE, Group

if TYPE_CHECKING:
    from collections.abc import Iterator

_EVERY_UPDATES = 50

OnUpdate = Callable[[int, int, float], None]


@dataclass(slots=True)
class Fitted:
    """What a training gave: the change, the loss of every update, and what it took.

    ``micro_batch_size`` is how many examples every worker had room for at once in the end, ``environment`` what was
    trained with: in all attempts, where it went on from a checkpoint.
    """

    change: Change | None = None
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    trainable_parameters: int = 0
    micro_batch_size: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def fit(  # noqa: C901, PLR0913, PLR0915  the whole loop stands here
    method: TrainMethod,
    rank: int,
    seed: int,
    recipe: Recipe,
    corpus: Corpus,
    *,
    checkpoint: Path | None = None,
    every: int = _EVERY_UPDATES,
    snapshots: Snapshots = NO_SNAPSHOTS,
    progress: OnUpdate = lambda index, total, loss: None,
    group: Group = ALONE,
    room: Room | None = None,
    gradient_checkpointing: bool = False,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Fitted:
    """Train ``method`` on a corpus and return what it learnt; goes on from ``checkpoint`` where there is one.

    The checkpoint is written whole ``every`` so many updates or 5 minutes, at snapshots, and after the last update.
    Every worker of ``group`` calls this alike, takes its share of each update's examples, and returns the same.

    Raises:
        TrialError: the loss is no longer a finite number, or not even one example fits in memory.
    """
    room = room or Room()
    updates = schedule_updates(corpus, recipe, seed)
    torch.manual_seed(seed)
    tree = corpus.base.tree()
    model = method.adapt(tree, rank, recipe).train()
    if gradient_checkpointing:
        _spare_memory(tree)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer, schedule = _optimizer(method, model, recipe)
    parts = {"optimizer": optimizer, "schedule": schedule}
    saved = Checkpoint(checkpoint, parameters, parts, method, group, environment)
    start = saved.load(snapshots)
    snapshots.judge_again(saved, start)

    for index in range(start, len(updates)):
        share, undo, fits = updates[index].share(group), Undo(method), False
        while not fits:  # once more, in smaller parts, where it did not fit in memory
            generator, total = seed_update(seed, index, group), 0.0
            loss = torch.zeros((), device=corpus.base.device)
            step = Step(index, len(updates), model, {}, loss, optimizer, generator, _reference(model), group.sum)
            try:
                for indices in room.split(share, recipe):
                    batch = corpus.training_batch(indices, recipe.max_length)
                    with tensor_cores(recipe, loss.device):
                        loss = model(**batch, num_items_in_batch=updates[index].target_tokens, use_cache=False).loss
                        step = replace(step, batch=batch, loss=loss)
                        method.backward(step)
                    total += loss.item()
                fits = True
            except torch.OutOfMemoryError:
                optimizer.zero_grad(set_to_none=True)
            if not fits:  # out of the handler, which holds on to what was to be freed
                del loss, step  # so do these: the whole graph, where the way back ran out of memory
                undo()
                room.halve(len(share), recipe)
        total = _sum_gradients(parameters, total, group)
        draw_alike(generator, group)
        if (penalty := method.penalty(step)) is not None:
            penalty.backward()  # type: ignore[no-untyped-call]
        method.on_gradients(step)
        if recipe.clip is not None:
            clip_grad_norm_(parameters, recipe.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            method.on_update(step)
        _check_finite(total, index)
        saved.losses.append(total)
        progress(index + 1, len(updates), total)
        due = (index + 1) % every == 0 or index + 1 == len(updates)
        snapshots.save(saved, index + 1, lambda: method.change(model), due=due)

    size = min(group.gather(room.size(recipe.batch_size, recipe)))
    count = sum(parameter.numel() for parameter in parameters)
    return Fitted(method.change(model), saved.losses, saved.seconds(), count, size, saved.environment)


def _sum_gradients(parameters: Sequence[nn.Parameter], loss: float, group: Group) -> float:
    """Add up every worker's gradients, in place, and return the sum of their losses.

    A parameter without a gradient on any worker is left without one.
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


def _spare_memory(tree: Any) -> None:
    """Have every decoder block computed again on the way back; torch's generator is put back for it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`gradient_checkpointing_enable`", FutureWarning)  # its new name is of 5.23
        tree.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _optimizer(method: TrainMethod, model: nn.Module, recipe: Recipe) -> tuple[Any, Any]:
    """Return AdamW over adapters and connector, each at its learning rate, and the cosine schedule."""
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
    warmup = -int(-recipe.warmup * recipe.updates // 1)
    return optimizer, get_cosine_schedule_with_warmup(optimizer, warmup, recipe.updates)


def _reference(model: nn.Module) -> Callable[[], Any]:
    """Return a context in which the model has its adapters off and its original connector."""

    @contextmanager
    def reference() -> Iterator[nn.Module]:
        with model.disable_adapter():  # type: ignore[operator]
            yield model

    return reference


def _check_finite(loss: float, index: int) -> None:
    if not torch.isfinite(torch.tensor(loss)):
        raise TrialError(f"The loss is {loss} at update {index + 1}. Lower the learning rate (--set METHOD.lr=…).")
