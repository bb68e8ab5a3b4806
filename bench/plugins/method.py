"""Define the base classes of methods and what their hooks receive."""

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

    ``index`` counts from 0 to ``total`` - 1. ``generator`` is seeded from the trial's seed and the index, so that a
    resumed run draws the same numbers as an uninterrupted one. If a trial has several workers, each worker has a share
    of the update's examples; ``batch`` and ``loss`` belong to the worker's last micro-batch, and ``batch`` is empty if
    its share is. ``all_reduce`` replaces tensors in place by their sum over the workers. Every worker must call
    ``all_reduce`` in the same way, so call it in ``on_gradients`` and not in ``backward``.
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
    """What an edit may read: the base weights, the calibration data and the edit's own generator.

    ``layers`` maps the name of every adapted linear layer to its frozen weight W0 [out, in] and its block. It also
    holds the parameters of a fully tuned connector, whose block is None.
    ``calibration(n)`` returns batches of the first ``n`` training examples of the target.
    ``capture(block, change, n)`` returns the inputs [tokens, in] of the adapted layers of one decoder block by layer
    name. They are measured on ``n`` calibration examples with ``change`` merged into the model, are on the CPU and
    contain no padding.
    """

    generator: Generator
    layers: Mapping[str, Layer]
    calibration: Callable[[int], Sequence[Batch]]
    capture: Callable[[int, Change, int], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class LayerShape:
    """An adapted linear layer: its weight's name and shape [rows, columns] = [out, in].

    ``block`` is the decoder block of the layer, or None in the connector.
    """

    name: str
    rows: int
    columns: int
    block: int | None

    @property
    def role(self) -> str:
        """The layer's role: q_proj, …, down_proj, or the name of a layer in the connector."""
        return role_of(self.name)

    @property
    def entries(self) -> int:
        """The number of entries of the weight."""
        return self.rows * self.columns


@dataclass(frozen=True, slots=True)
class Dimensions:
    """The numbers that a method's memory depends on.

    ``connector`` is the number of parameters of a fully tuned connector, otherwise 0. ``tokens`` is the length of one
    training example, including its image.
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
        """Return the number of entries in A [rank, in] and B [out, rank] of these layers."""
        return sum(self.rank * (layer.rows + layer.columns) for layer in layers)


@dataclass(kw_only=True)
class Method(ABC):
    """A way of fine-tuning; the fields of an instance are its hyperparameters.

    A field of run state is declared with ``field(init=False)`` and has a name that ends in ``_``. ``off`` holds
    settings that make the method equal to its baseline. ``aliases`` maps a paper's letters to hyperparameters, for use
    on the command line. A method that is not ``ranked`` is a reference row: it is shown, but never marked as best.
    A ``trivial`` method is a tool of controls and studies: ``--methods all`` leaves it out, and its name chooses it.
    ``remark`` is a sentence that every table with a row of the method prints once. ``merges`` is false if the change
    depends on the example (``bench.Routed``); then it is held live, and what needs merged weights refuses the method.
    ``dropped`` names the hyperparameters of earlier versions that never changed a result, and says why they were
    dropped.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    off: ClassVar[Mapping[str, Scalar]] = {}
    aliases: ClassVar[Mapping[str, str]] = {}
    ranked: ClassVar[bool] = True
    trivial: ClassVar[bool] = False
    remark: ClassVar[str] = ""
    merges: ClassVar[bool] = True
    dropped: ClassVar[Mapping[str, str]] = {}

    def roles(self) -> Sequence[str]:
        """Return the layers of the decoder, such as q_proj, without whose adapters the method means nothing.

        A recipe that does not adapt all of them is refused. The source of this hook is not part of a trial's id.
        """
        return ()

    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        """Return the peak GPU bytes that only this method needs, by purpose.

        Leave out weights, adapters, gradients, optimizer states and activations, which are counted for every method.
        ``bench plan`` calls this hook. The source of this hook is not part of a trial's id, because no result depends
        on it.
        """
        return {}

    def change_bytes(self, dimensions: Dimensions) -> int | None:
        """Return the bytes of the change of the adapted layers, or None if the change is the trained adapters.

        The source of this hook is not part of a trial's id either.
        """
        return None

    def slowdown(self) -> float:
        """Return how many times as long as an update of plain LoRA an update of the method takes.

        ``bench plan`` and the end of ``bench run`` price a method with this figure if it never ran here. The source of
        this hook is not part of a trial's id either.
        """
        return 1.0


@dataclass(kw_only=True)
class TrainMethod(Method):
    """A method that trains adapters. Every hook has a default; to switch a hook on, override it."""

    lr: float | None = hyper(None, low=2e-4, high=2e-2, log=True, minimum=0.0, maximum=1.0)

    @abstractmethod
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        """Insert adapters and return the model to train; the recipe says how to treat the connector."""

    @abstractmethod
    def change(self, model: nn.Module) -> Change:
        """Return what was learnt; base + change must give the outputs of the adapted model."""

    def mix(self, order: Sequence[int], sources: Mapping[str, range], generator: Generator) -> Sequence[int]:
        """Return the numbers of the examples that a training sees, in order; called once, before the first update.

        ``order`` has the number of a target's example for each example seen, updates x batch size of them. ``sources``
        has, by source, the numbers of its training examples. The result is as long as ``order`` and has only these
        numbers. ``generator`` is seeded from the trial's seed, so that a resumed training, every worker and every size
        of a micro-batch see the same examples. Reports mark the rows of a method with this hook: it *sees source data*.
        """
        return order

    def backward(self, step: Step) -> None:
        """Add the gradients of one micro-batch; called for every micro-batch.

        Values that this hook accumulates outside ``.grad`` must be run state, because run state is restored if an
        update is repeated in smaller micro-batches.
        """
        step.loss.backward()  # type: ignore[no-untyped-call]

    def penalty(self, step: Step) -> Tensor | None:
        """Return a scalar that depends only on the weights and is added to the loss once per update, or None."""
        return None

    def on_gradients(self, step: Step) -> None:
        """Edit ``.grad`` once per update, after accumulation and all-reduce and before clipping."""

    def on_update(self, step: Step) -> None:
        """Edit the weights once per update, after the optimizer and before anything reads them."""


def mixes(plugin: type[Method]) -> bool:
    """Whether a method's trainings may see examples of the sources: whether it overrides ``mix``."""
    return issubclass(plugin, TrainMethod) and plugin.mix is not TrainMethod.mix


@dataclass(kw_only=True)
class EditMethod(Method):
    """A method that edits what its parent has learnt, without training."""

    parent: ClassVar[str] = "lora"

    @abstractmethod
    def edit(self, change: Change, context: EditContext) -> Change:
        """Return the edited change; neither ``change`` nor the model may be modified."""
