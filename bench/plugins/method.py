"""What a method is: the base classes that it inherits, and what their hooks receive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.model.family import role_of
from bench.plugins.hyperparameters import hyper
from bench.spec import Scalar

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn
    from torch.optim import Optimizer

    from bench.model.adapters import Layer
    from bench.model.change import Change
    from bench.spec import Recipe

Batch = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer update, as a hook sees it.

    ``index`` counts from 0 to ``total`` - 1. ``generator`` is seeded from the trial's seed and the index, so a
    resumed run draws what an unbroken one draws. Of several workers each has its share of the update's examples:
    ``batch`` and ``loss`` are of its last micro-batch (no batch, where it had none). ``all_reduce`` replaces tensors by
    their sum over the workers, in place; every worker calls it alike, so in ``on_gradients`` and not in ``backward``.
    """

    index: int
    total: int
    model: nn.Module
    batch: Batch
    loss: Tensor
    optimizer: Optimizer
    generator: Generator
    reference: Callable[[], AbstractContextManager[nn.Module]]
    all_reduce: Callable[[Sequence[Tensor]], None]


@dataclass(frozen=True, slots=True)
class EditContext:
    """What an edit may read: the base weights, the calibration data and a generator of its own.

    ``layers`` gives every adapted linear layer by name, with its frozen weight W0 [out, in] and its block; and the
    parameters of a fully tuned connector, which have no block.
    ``calibration(n)`` returns batches made of the first ``n`` training examples of the target.
    ``capture(block, change, n)`` returns, by layer name, the inputs [tokens, in] of the adapted layers of one
    decoder block on ``n`` calibration examples, on the CPU, with ``change`` merged into the model; padding is left out.
    """

    generator: Generator
    layers: Mapping[str, Layer]
    calibration: Callable[[int], Sequence[Batch]]
    capture: Callable[[int, Change, int], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class LayerShape:
    """A linear layer that carries an adapter: its weight's name, [rows, columns] = [out, in], and its decoder block.

    ``block`` is None in the connector.
    """

    name: str
    rows: int
    columns: int
    block: int | None

    @property
    def role(self) -> str:
        """The layer's own name: q_proj, …, down_proj, or a name of the connector's."""
        return role_of(self.name)

    @property
    def entries(self) -> int:
        """How many entries the weight has."""
        return self.rows * self.columns


@dataclass(frozen=True, slots=True)
class Dimensions:
    """What a method's memory depends on. ``connector`` counts the parameters of a fully tuned connector, or is 0.

    ``tokens`` is the length of one training example, its image included.
    """

    layers: tuple[LayerShape, ...]
    connector: int
    rank: int
    tokens: int

    @property
    def decoder(self) -> tuple[LayerShape, ...]:
        """The adapted layers of the decoder."""
        return tuple(layer for layer in self.layers if layer.block is not None)

    def factors(self, layers: Sequence[LayerShape]) -> int:
        """Return how many entries A [rank, in] and B [out, rank] have together, over some layers."""
        return sum(self.rank * (layer.rows + layer.columns) for layer in layers)


@dataclass(kw_only=True)
class Method(ABC):
    """A way of fine-tuning. An instance is its hyperparameters; run state is ``field(init=False)``, named ``x_``.

    ``off`` holds settings under which the method equals its baseline. ``aliases`` maps a paper's letter to
    the hyperparameter it stands for on the command line. A method that is not ``ranked`` is a reference row:
    it is shown, but never best.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    off: ClassVar[Mapping[str, Scalar]] = {}
    aliases: ClassVar[Mapping[str, str]] = {}
    ranked: ClassVar[bool] = True

    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        """Return the bytes a GPU holds for this method alone, by what they are for, at their peak.

        Weights, adapters, gradients, optimizer and activations are counted for every method. ``bench plan`` asks; no
        result depends on the answer, so that it is no part of a trial's id.
        """
        return {}

    def change_bytes(self, dimensions: Dimensions) -> int | None:
        """Return the size of what it makes of the adapted layers; None: of the adapters that it, or its parent, trains.

        No part of a trial's id either.
        """
        return None


@dataclass(kw_only=True)
class TrainMethod(Method):
    """A method that trains adapters. Every hook has a default; an overridden hook is the flag."""

    lr: float | None = hyper(None, low=2e-4, high=2e-2, log=True, minimum=0.0, maximum=1.0)

    @abstractmethod
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        """Insert adapters and return the model to train; the recipe says what the connector does."""

    @abstractmethod
    def change(self, model: nn.Module) -> Change:
        """Return what was learnt: base + change gives the adapted model's outputs."""

    def backward(self, step: Step) -> None:
        """Add this micro-batch's gradients. Called for every micro-batch.

        What it adds up elsewhere must be run state: it is put back where an update is done again in smaller parts.
        """
        step.loss.backward()  # type: ignore[no-untyped-call]

    def penalty(self, step: Step) -> Tensor | None:
        """Return a scalar of the weights alone, added to the loss once per update, or None."""
        return None

    def on_gradients(self, step: Step) -> None:
        """Edit ``.grad``, once per update, after accumulation and all-reduce, before clipping."""

    def on_update(self, step: Step) -> None:
        """Edit the weights, once per update, after the optimizer and before anything reads them."""


@dataclass(kw_only=True)
class EditMethod(Method):
    """A method that edits what its parent has learnt, without training."""

    parent: ClassVar[str] = "lora"

    @abstractmethod
    def edit(self, change: Change, context: EditContext) -> Change:
        """Return the edited change. Pure: neither ``change`` nor the model may be altered."""
