"""Schedule a training's updates, divide them among workers, and fit them into memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch

from bench.errors import TrialError
from bench.model.precision import tf32
from bench.plugins.hyperparameters import state_names
from bench.plugins.method import TrainMethod
from bench.trial.hooks import mixed
from bench.trial.mixture import Lessons
from bench.trial.workers import ALONE, Group
from bench.values.canonical import digest
from bench.values.recipe import Recipe

_BEFORE_UPDATES = -1  # takes the place of an update's index in the seed of ``mix``

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Update:
    """The examples of one optimizer update, and the number of their tokens that are learnt.

    ``tasks`` has the numbers of each task's examples if several tasks are learnt together.
    """

    examples: tuple[int, ...]
    target_tokens: int
    tasks: Mapping[str, range] = field(default_factory=dict)

    def share(self, group: Group) -> Mapping[str, Sequence[int]]:
        """Return one worker's examples by task; with fewer examples than workers, some workers have no example."""
        own = self.examples[group.rank :: group.size]
        if not self.tasks:
            return {"": own}
        return {task: [number for number in own if number in numbers] for task, numbers in self.tasks.items()}


def schedule_updates(method: TrainMethod, corpus: Lessons, recipe: Recipe, seed: int) -> list[Update]:
    """Return the updates of a training: epochs of seeded permutations of the target's examples, cut into batches.

    In a joint training, every update has equal parts of all tasks. The method may put examples of the sources in the
    places of the target's.

    Raises:
        PluginError: the method returns another number of examples, or a number that it was not given.
    """
    order, size = _drawn(corpus.taught, recipe, torch.Generator().manual_seed(seed)), recipe.batch_size
    value = seed_from(seed, _BEFORE_UPDATES)
    torch.manual_seed(value)  # a careless hook may draw from torch's own generator
    order = mixed(method.mix, order, corpus.sources, torch.Generator().manual_seed(value))
    batches = [order[index * size : (index + 1) * size] for index in range(recipe.updates)]
    return [Update(tuple(batch), corpus.target_tokens(batch, recipe.max_length), corpus.tasks) for batch in batches]


def _drawn(taught: Sequence[range], recipe: Recipe, generator: torch.Generator) -> list[int]:
    """Return the examples of all updates in order; of several ranges of numbers, each update has equal parts.

    If these cannot be equal, the ranges take turns in having one example more.
    """
    streams, order = [_epochs(numbers, generator) for numbers in taught], list[int]()
    part, left = divmod(recipe.batch_size, len(taught))
    for index in range(recipe.updates):
        for place, stream in enumerate(streams):
            more = (place - index * left) % len(taught) < left
            order += islice(stream, part + more)
    return order


def _epochs(numbers: range, generator: torch.Generator) -> Iterator[int]:
    """Yield numbers without end, in epochs of seeded permutations."""
    while True:
        yield from (numbers[place] for place in torch.randperm(len(numbers), generator=generator).tolist())


def seed_update(seed: int, index: int, group: Group = ALONE) -> torch.Generator:
    """Seed torch for one update, so that a resumed training draws the same numbers as an unbroken one.

    The returned generator is the same on every worker of a group. torch's own generator, which dropout draws from,
    differs from worker to worker.
    """
    value = seed_from(seed, index)
    torch.manual_seed(value if group.size == 1 else seed_from(seed, index, group.rank))
    return torch.Generator().manual_seed(value)


def tensor_cores(recipe: Recipe, device: torch.device) -> AbstractContextManager[None]:
    """Let a GPU compute a half-precision training's float32 products in TF32, as the paper's recipe does.

    These are the adapters' products: adapters are float32 on a bfloat16 base, because bfloat16 adapters, as in the
    paper, would be coarser. What hooks compute from the weights stays in full precision.
    """
    if recipe.train_dtype == "float32":
        return nullcontext()
    return tf32(device, allowed=True)


def draw_alike(generator: torch.Generator, group: Group) -> None:
    """Make torch's own generator draw the same on every worker, because a careless hook may draw from it."""
    if group.size > 1:
        torch.manual_seed(generator.initial_seed())


def seed_from(*values: int | str) -> int:
    """Return a seed that depends on the values alone."""
    return int(digest(list(values))[:15], 16)


@dataclass(slots=True)
class MicroBatchSize:
    """The size of a micro-batch: ``most``, or the recipe's number, or fewer if memory is too small.

    If a micro-batch does not fit, its size is halved for the rest of this training and for all later trainings of the
    lane.
    """

    most: int | None = None
    found: int | None = None

    def size(self, count: int, recipe: Recipe) -> int:
        """Return how many of ``count`` examples go into one micro-batch."""
        return max(1, min(self.most or recipe.micro_batch_size or count, self.found or count, count))

    def split(self, share: Mapping[str, Sequence[int]], recipe: Recipe) -> Iterator[tuple[str, Sequence[int]]]:
        """Yield the micro-batches of a worker's share, each with its task."""
        for task, examples in share.items():
            size = self.size(len(examples), recipe)
            yield from ((task, examples[at : at + size]) for at in range(0, len(examples), size))

    def halve(self, count: int, recipe: Recipe) -> None:
        """Halve the size of a micro-batch from now on.

        Raises:
            TrialError: one example alone does not fit in memory.
        """
        size = self.size(count, recipe)
        if size == 1:
            raise TrialError(
                "One example alone does not fit in memory. Use --gradient-checkpointing, --base 4bit, "
                "a smaller rank, or a smaller recipe.max_length."
            )
        self.found = size // 2
        log.warning(
            "%d examples at once do not fit in memory; from now on, %d are processed at once. See --micro-batch.",
            size,
            self.found,
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # otherwise the smaller blocks would be cut from the old larger ones


class Undo:
    """A method's run state before an update, copied only if the method overrides ``backward``.

    Without that hook, an update that runs out of memory cannot have changed the state.
    """

    def __init__(self, method: TrainMethod) -> None:
        self._method = method
        names = state_names(method) if type(method).backward is not TrainMethod.backward else ()
        self._state = {name: _copied(getattr(method, name)) for name in names if hasattr(method, name)}

    def __call__(self) -> None:
        """Restore the copied state."""
        for name, value in self._state.items():
            setattr(self._method, name, _copied(value))


def _copied(value: Any) -> Any:
    """Return a copy that shares no tensor, list or dict with ``value`` except the model's parameters."""
    if isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(item) for item in value)
    return value
