"""Define the base classes of methods and what their hooks receive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench.model.family import role_of
from bench.plugins.hyperparameters import hyper
from bench.values.trial import Scalar

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn
    from torch.optim import Optimizer

    from bench.model.adapters import Layer
    from bench.model.change import Change
    from bench.values.recipe import Recipe

Batch = Mapping[str, Any]
Purpose = Literal["target", "sequence", "joint"]

STAGE_HOOKS = ("start", "keep", "bank")  # the hooks with which a method decides how its stages follow each other


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer update, as a hook sees it.

    ``index`` counts from 0 to ``total`` - 1. ``generator`` is seeded from the trial's seed and the index, so that a
    resumed run draws the same numbers as an uninterrupted one. If a trial has several workers, each worker has a share
    of the update's examples; ``batch`` and ``loss`` belong to the worker's last micro-batch, and ``batch`` is empty if
    its share is. ``all_reduce`` replaces tensors in place by their sum over the workers. Every worker must call
    ``all_reduce`` in the same way, so call it in ``on_gradients`` and not in ``backward``. In a joint training, all
    examples of a micro-batch are of one ``task``; a worker's share may lack a task.
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
    task: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """What a training starts from, as one stage of a sequence of tasks; an ordinary training is stage 1.

    ``tasks`` are the targets of the stages so far; the last one is learnt now. In a joint training, that target is
    several tasks ``together``; otherwise, ``together`` is empty. ``previous`` is the change after the previous stage,
    and ``kept`` is what its ``keep`` returned; both are empty in stage 1. If ``folded``, the base model has
    ``previous`` already. ``calibration(n)`` returns batches of the first ``n`` training examples of the target, or of
    each task of a joint training. ``generator`` is seeded from the trial's seed and the stage.
    """

    tasks: tuple[str, ...]
    previous: Change
    kept: Mapping[str, Tensor]
    folded: bool
    calibration: Callable[[int], Sequence[Batch]]
    generator: Generator
    together: tuple[str, ...] = ()

    @property
    def stage(self) -> int:
        """The number of the stage, from 1."""
        return len(self.tasks)


@dataclass(frozen=True, slots=True)
class EditContext:
    """What an edit may read: the base weights, the calibration data and the edit's own generator.

    ``layers`` maps the name of every adapted linear layer to its frozen weight W0 [out, in] and its block. It also
    holds the parameters of a fully tuned connector, whose block is None.
    ``calibration(n)`` returns batches of the first ``n`` training examples of the target.
    ``capture(block, change, n)`` returns the inputs [tokens, in] of the adapted layers of one decoder block by layer
    name. They are measured on ``n`` calibration examples with ``change`` merged into the model, are on the CPU and
    contain no padding. Layers that read the same values share one tensor, so do not write into it. The next call
    empties the mapping, so that one block's inputs are in memory at a time. A call continues where the last one was
    measured if it asks for the same ``n`` and for no lower block, and if all deltas before the last block are the same
    objects as then. Otherwise the examples run through the model from the start.
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
    training example, including its image, and ``learnt`` are those of its answer. ``tasks`` are learnt together.
    """

    layers: tuple[LayerShape, ...]
    connector: int
    rank: int
    tokens: int
    tasks: int = 1
    learnt: int = 0

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
    ``display`` is the name that papers use, for tables in LaTeX; without one of its own, a method has ``name``.
    ``remark`` is a sentence that every table with a row of the method prints once. ``merges`` is false if the change
    depends on the example (``bench.Routed``); then it is held live, and what needs merged weights refuses the method.
    ``made_for`` says what the method is for. One made for a ``sequence`` of tasks learns the first task as plain LoRA
    or nearly so, and one made for ``joint`` training learns several tasks at once; ``bench run --methods all`` means
    those made for one ``target``.
    ``dropped`` names the hyperparameters of earlier versions that never changed a result, and says why they were
    dropped.
    """

    name: ClassVar[str]
    display: ClassVar[str]
    paper: ClassVar[str]
    off: ClassVar[Mapping[str, Scalar]] = {}
    aliases: ClassVar[Mapping[str, str]] = {}
    ranked: ClassVar[bool] = True
    trivial: ClassVar[bool] = False
    remark: ClassVar[str] = ""
    merges: ClassVar[bool] = True
    made_for: ClassVar[Purpose] = "target"
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
    """A method that trains adapters. Every hook has a default; to switch a hook on, override it.

    A sequence of tasks trains in stages. By default a stage continues the factors of the stage before it (``start``).
    If the method ``folds``, the base model has the change of the earlier stages while a stage trains new factors on it,
    and the engine adds what these have learnt to that change.
    """

    folds: ClassVar[bool] = False

    lr: float | None = hyper(None, low=2e-4, high=2e-2, log=True, minimum=0.0, maximum=1.0)

    @abstractmethod
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        """Insert adapters and return the model to train; the recipe says how to treat the connector."""

    @abstractmethod
    def change(self, model: nn.Module) -> Change:
        """Return what was learnt; base + change must give the outputs of the adapted model."""

    def start(self, model: nn.Module, start: Start) -> None:
        """Prepare the adapted model for its stage; called after ``adapt`` and before the optimizer is made.

        Stage 1 of a sequence is an ordinary training. From stage 2 on, the default copies the previous stage's factors
        and tuned connector into the model, unless the base model has that change already.
        """
        if start.stage > 1 and not start.folded:
            from bench.model.joining import continue_from  # imported here because it loads torch

            continue_from(model, start.previous)

    def keep(self, model: nn.Module) -> Mapping[str, Tensor]:
        """Return tensors for the ``start`` of the next stage, by name; called after the training.

        They are stored next to the change, are no part of what is evaluated, and count as bytes kept.
        """
        return {}

    def bank(self, model: nn.Module) -> Mapping[str, Change]:
        """Return the changes with which earlier tasks of a sequence are answered, by task; called after ``change``.

        A task that is not among them is answered with ``change``. Reports mark the rows of a method with this hook:
        its user must know the task of every question (*task id given*), and only such rows compete with it.
        """
        return {}

    def left_bytes(self, dimensions: Dimensions, stage: int) -> int:
        """Return the bytes of what ``keep`` and ``bank`` return after a stage of a sequence, numbered from 1.

        ``bench plan`` calls this hook. The source of this hook is not part of a trial's id either.
        """
        return 0

    def graphs(self) -> int:
        """Return how many forward passes an update has in memory at once, with their activations and logits.

        ``bench plan`` calls this hook. The source of this hook is not part of a trial's id either.
        """
        return 1

    def mix(self, order: Sequence[int], sources: Mapping[str, range], generator: Generator) -> Sequence[int]:
        """Return the numbers of the examples that a training sees, in order; called once, before the first update.

        ``order`` has the number of a target's example for each example seen, updates x batch size of them. ``sources``
        has, by source, the numbers of its training examples. The result is as long as ``order`` and has only these
        numbers. ``generator`` is seeded from the trial's seed, so that a resumed training, every worker and every size
        of a micro-batch see the same examples. Reports mark the rows of a method with this hook: it *sees source data*.
        """
        return order

    def on_batch(self, model: nn.Module, task: str) -> None:
        """Prepare the model for a micro-batch, whose examples are all of ``task``; called before each forward pass.

        Only a joint training names the task; in every other one it is empty. An update that does not fit in memory is
        repeated in smaller micro-batches, so this hook may set a state but not add up anything.
        """

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


def stages_differ(plugin: type[TrainMethod]) -> bool:
    """Whether the stages of a sequence follow each other in another way than plain LoRA's, which just continue."""
    return plugin.folds or any(getattr(plugin, hook) is not getattr(TrainMethod, hook) for hook in STAGE_HOOKS)


def banks(plugin: type[Method]) -> bool:
    """Whether a method answers earlier tasks of a sequence with changes of their own: whether it overrides ``bank``."""
    return issubclass(plugin, TrainMethod) and plugin.bank is not TrainMethod.bank


@dataclass(kw_only=True)
class EditMethod(Method):
    """A method that edits what its parent has learnt, without training."""

    parent: ClassVar[str] = "lora"

    def captured(self) -> int:
        """Return how many training examples the edit captures the inputs of all blocks with; 0 if it captures none.

        ``bench plan`` prices an edit that never ran here by their passes through the decoder, and says what main memory
        they need. The source of this hook is not part of a trial's id either.
        """
        return 0

    @abstractmethod
    def edit(self, change: Change, context: EditContext) -> Change:
        """Return the edited change; neither ``change`` nor the model may be modified."""
