"""The training loop, whole."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from bench import places
from bench.adapters import tuned_connector
from bench.api import Step, TrainMethod
from bench.change import Change
from bench.data import Corpus
from bench.errors import TrialError
from bench.hyperparameters import state_names
from bench.spec import Recipe, digest

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

_EVERY_UPDATES = 50
_EVERY_SECONDS = 300.0

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True, slots=True)
class Snapshots:
    """What happens at some steps of a training: ``keep`` the change there, then ``judge`` whether to go on.

    ``judge`` may raise; the training can go on from its checkpoint later.
    """

    steps: tuple[int, ...] = ()
    keep: Callable[[int, Change], None] = lambda step, change: None
    judge: Callable[[int], None] = lambda step: None
    has: Callable[[int], bool] = lambda step: True

    def judge_again(self, saved: _Checkpoint, start: int) -> None:
        """Judge the steps that a resumed training has behind it: it may have been killed over its last one."""
        for step in self.steps:
            if step <= start:
                saved.pause(self.judge, step)

    def save(self, saved: _Checkpoint, step: int, change: Callable[[], Change], *, due: bool) -> None:
        """Keep a snapshot before the checkpoint that has it behind, and judge it after."""
        taken = step in self.steps
        if taken:
            self.keep(step, change())
        saved.save(step, due=due or taken)
        if taken:
            saved.pause(self.judge, step)


@dataclass(frozen=True, slots=True)
class Update:
    """The examples of one optimizer update, in micro-batches, and how many of their tokens are learnt."""

    micro_batches: tuple[tuple[int, ...], ...]
    target_tokens: int


@dataclass(slots=True)
class Fitted:
    """What a training gave: the change, the loss of every update, and what it took."""

    change: Change | None = None
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    trainable_parameters: int = 0


def schedule_updates(corpus: Corpus, recipe: Recipe, seed: int) -> list[Update]:
    """Return the updates of a training: epochs of seeded permutations, cut into batches."""
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    while len(order) < recipe.updates * recipe.batch_size:
        order += torch.randperm(len(corpus.examples), generator=generator).tolist()
    size = recipe.micro_batch_size or recipe.batch_size
    updates = []
    for index in range(recipe.updates):
        batch = order[index * recipe.batch_size : (index + 1) * recipe.batch_size]
        parts = tuple(tuple(batch[at : at + size]) for at in range(0, len(batch), size))
        updates.append(Update(parts, corpus.target_tokens(batch, recipe.max_length)))
    return updates


def fit(  # noqa: PLR0913, PLR0915  the whole loop stands here
    method: TrainMethod,
    rank: int,
    seed: int,
    recipe: Recipe,
    corpus: Corpus,
    *,
    checkpoint: Path | None = None,
    every: int = _EVERY_UPDATES,
    snapshots: Snapshots = Snapshots(),
    progress: Progress = lambda index, total, loss: None,
) -> Fitted:
    """Train ``method`` on a corpus and return what it learnt; goes on from ``checkpoint`` where there is one.

    The checkpoint is written whole ``every`` so many updates or 5 minutes, at snapshots, and after the last update.

    Raises:
        TrialError: the loss is no longer a finite number.
    """
    updates = schedule_updates(corpus, recipe, seed)
    torch.manual_seed(seed)
    model = method.adapt(corpus.base.tree(), rank, recipe).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer, schedule = _optimizer(method, model, recipe)
    fitted = Fitted(trainable_parameters=sum(parameter.numel() for parameter in parameters))
    saved = _Checkpoint(checkpoint, parameters, optimizer, schedule, method, fitted)
    start = saved.load(snapshots)
    snapshots.judge_again(saved, start)

    for index in range(start, len(updates)):
        generator = seed_update(seed, index)
        total = 0.0
        for indices in updates[index].micro_batches:
            batch = corpus.training_batch(indices, recipe.max_length)
            loss = model(**batch, num_items_in_batch=updates[index].target_tokens, use_cache=False).loss
            step = Step(
                index,
                len(updates),
                model,
                batch,
                loss,
                optimizer,
                generator,
                _reference(model),
                all_reduce_sum,
            )
            method.backward(step)
            total += loss.item()
        all_reduce_sum([parameter.grad for parameter in parameters if parameter.grad is not None])
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
        fitted.losses.append(total)
        progress(index + 1, len(updates), total)
        due = (index + 1) % every == 0 or index + 1 == len(updates)
        snapshots.save(saved, index + 1, lambda: method.change(model), due=due)

    fitted.seconds = saved.seconds()
    fitted.change = method.change(model)
    return fitted


def seed_update(seed: int, index: int) -> torch.Generator:
    """Seed torch for one update, so that a resumed run draws what an unbroken one draws."""
    value = int(digest([seed, index])[:15], 16)
    torch.manual_seed(value)
    return torch.Generator().manual_seed(value)


def all_reduce_sum(tensors: Sequence[Tensor]) -> None:
    """Sum tensors over the workers of a lane, in place and as one flat tensor; alone, leave them."""
    if not tensors or not torch.distributed.is_initialized():
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    torch.distributed.all_reduce(flat)
    ends = torch.tensor([tensor.numel() for tensor in tensors]).cumsum(0).tolist()
    for tensor, end in zip(tensors, ends, strict=True):
        tensor.copy_(flat[end - tensor.numel() : end].view_as(tensor))


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


class _Checkpoint:
    """A training's state on disk, always written whole."""

    def __init__(
        self,
        path: Path | None,
        parameters: Sequence[Tensor],
        optimizer: Any,
        schedule: Any,
        method: TrainMethod,
        fitted: Fitted,
    ) -> None:
        self._path = path
        self._parameters = parameters
        self._parts = {"optimizer": optimizer, "schedule": schedule}
        self._method = method
        self._fitted = fitted
        self._began = self._saved_at = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds trained so far, over all resumptions."""
        return self._fitted.seconds + time.monotonic() - self._began

    def pause(self, action: Callable[[int], None], step: int) -> None:
        """Do what is no training: its time does not count."""
        began = time.monotonic()
        action(step)
        self._began += time.monotonic() - began

    def load(self, snapshots: Snapshots) -> int:
        """Put a saved state back and return the update to go on with; one past a snapshot that is missing is no use."""
        if self._path is None or not self._path.is_file():
            return 0
        try:
            with places.fetched(self._path) as file:
                saved = torch.load(file, weights_only=True)
        except (RuntimeError, EOFError) as error:
            log.warning("%s is damaged (%s); the training starts anew.", self._path, error)
            return 0
        if any(step <= saved["index"] and not snapshots.has(step) for step in snapshots.steps):
            return 0
        with torch.no_grad():
            for parameter, value in zip(self._parameters, saved["parameters"], strict=True):
                parameter.copy_(value)
        for name, part in self._parts.items():
            part.load_state_dict(saved[name])
        for name, value in saved["method"].items():
            setattr(self._method, name, value)
        self._fitted.losses[:] = saved["losses"]
        self._fitted.seconds = saved["seconds"]
        return int(saved["index"])

    def save(self, index: int, *, due: bool) -> None:
        """Write the state where it is due, and at least every five minutes."""
        late = time.monotonic() - self._saved_at > _EVERY_SECONDS
        if self._path is None or not (due or late):
            return
        state = {
            "index": index,
            "parameters": [parameter.detach() for parameter in self._parameters],
            "method": {name: getattr(self._method, name) for name in state_names(self._method)},
            "losses": self._fitted.losses,
            "seconds": self.seconds(),
            **{name: part.state_dict() for name, part in self._parts.items()},
        }
        with places.drafted(self._path) as draft:
            torch.save(state, draft)
        self._saved_at = time.monotonic()
