"""What a training goes through: its updates, each worker's share of them, and how much of it fits in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from bench.errors import TrialError
from bench.plugins.hyperparameters import state_names
from bench.plugins.method import TrainMethod
from bench.spec import Recipe, digest
from bench.trial.corpus import Corpus
from bench.trial.workers import ALONE, Group

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Update:
    """The examples of one optimizer update, and how many of their tokens are learnt."""

    examples: tuple[int, ...]
    target_tokens: int

    def share(self, group: Group) -> tuple[int, ...]:
        """Return what one worker of a group takes on: nothing, where there are fewer examples than workers."""
        return self.examples[group.rank :: group.size]


def schedule_updates(corpus: Corpus, recipe: Recipe, seed: int) -> list[Update]:
    """Return the updates of a training: epochs of seeded permutations, cut into batches."""
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    while len(order) < recipe.updates * recipe.batch_size:
        order += torch.randperm(len(corpus.examples), generator=generator).tolist()
    size = recipe.batch_size
    batches = [order[index * size : (index + 1) * size] for index in range(recipe.updates)]
    return [Update(tuple(batch), corpus.target_tokens(batch, recipe.max_length)) for batch in batches]


def seed_update(seed: int, index: int, group: Group = ALONE) -> torch.Generator:
    """Seed torch for one update, so that a resumed run draws what an unbroken one draws.

    The generator returned is the same on every worker of a group; torch's own, from which dropout draws, is not.
    """
    value = _number(seed, index)
    torch.manual_seed(value if group.size == 1 else _number(seed, index, group.rank))
    return torch.Generator().manual_seed(value)


@contextmanager
def tensor_cores(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Let a GPU take the float32 products of a training in half precision in TF32, as the paper's recipe has it.

    They are those of the adapters, which are float32 on a bfloat16 base: bfloat16 ones, as in the paper, would be
    coarser. What hooks compute of the weights stays in full precision.
    """
    if device.type != "cuda" or recipe.train_dtype == "float32":
        yield
        return
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, True
    try:
        yield
    finally:
        matmul.allow_tf32 = before


def draw_alike(generator: torch.Generator, group: Group) -> None:
    """Have torch's own generator draw the same on every worker of a group: a careless hook draws from it."""
    if group.size > 1:
        torch.manual_seed(generator.initial_seed())


def _number(*values: int) -> int:
    return int(digest(list(values))[:15], 16)


@dataclass(slots=True)
class Room:
    """How many examples a worker takes at once: ``most``, or its recipe's number, or fewer where they do not fit.

    What does not fit is halved, for this training and for all that come after it in the lane.
    """

    most: int | None = None
    found: int | None = None

    def size(self, count: int, recipe: Recipe) -> int:
        """Return how many of ``count`` examples go into one micro-batch."""
        return max(1, min(self.most or recipe.micro_batch_size or count, self.found or count, count))

    def split(self, examples: Sequence[int], recipe: Recipe) -> list[Sequence[int]]:
        """Return the micro-batches of a worker's share."""
        size = self.size(len(examples), recipe)
        return [examples[at : at + size] for at in range(0, len(examples), size)]

    def halve(self, count: int, recipe: Recipe) -> None:
        """Take half as many at once from now on.

        Raises:
            TrialError: one alone does not fit.
        """
        size = self.size(count, recipe)
        if size == 1:
            raise TrialError(
                "One example alone does not fit in memory. Choose --gradient-checkpointing, --base 4bit, "
                "a smaller rank, or a smaller recipe.max_length."
            )
        self.found = size // 2
        log.info("%d examples at once do not fit in memory; from here on %d.", size, self.found)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # half as large blocks would otherwise be cut from pieces


class Undo:
    """A method's run state as it was before an update's backward hook; a method without that hook has none to lose."""

    def __init__(self, method: TrainMethod) -> None:
        self._method = method
        names = state_names(method) if type(method).backward is not TrainMethod.backward else ()
        self._state = {name: _copied(getattr(method, name)) for name in names if hasattr(method, name)}

    def __call__(self) -> None:
        """Put the state back."""
        for name, value in self._state.items():
            setattr(self._method, name, _copied(value))


def _copied(value: Any) -> Any:
    """Return a value in which no tensor, list or dict is shared with the one given, but for the model's parameters."""
    if isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(item) for item in value)
    return value
