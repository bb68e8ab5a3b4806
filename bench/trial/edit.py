"""Run an EditMethod on its parent's change, and let it read the model's layers and the target's data."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench.model.adapters import Layer, adapted_layers
from bench.model.change import Change, Delta, Replaced
from bench.model.four_bit import dequantised
from bench.model.joining import plus
from bench.plugins.method import Batch, EditContext, EditMethod
from bench.recipe import Recipe
from bench.trial.corpus import Corpus
from bench.trial.fit import Fitted
from bench.trial.hooks import called
from bench.trial.stages import calibration
from bench.trial.updates import seed_update

_NOTHING = Change({})


def edit(
    method: EditMethod, change: Change, seed: int, recipe: Recipe, corpus: Corpus, before: Change = _NOTHING
) -> Fitted:
    """Return the parent's change as ``method`` has edited it, and the seconds that the edit took.

    In a sequence of tasks, ``change`` is what the stage has learnt itself, on the base model with the change of the
    stages ``before``; only the stage's own part is edited, and the result has both.
    """
    began = time.monotonic()
    capture = _Capture(corpus, recipe, change, before)
    context = EditContext(
        generator=seed_update(seed, 0),
        layers=capture.layers,
        calibration=capture.calibration,
        capture=capture,
    )
    with torch.no_grad():
        edited = called(method.edit, change, context)
    return Fitted(change=plus(before, edited) if before else edited, seconds=time.monotonic() - began)


@dataclass(frozen=True, slots=True, eq=False)
class _Learnt(Layer):
    """A layer whose weight is W0 with the change of the earlier stages, computed at each call."""

    before: Delta

    @property
    @override
    def weight(self) -> Tensor:
        return self.before.merged(dequantised(self.stored).float())


class _Stop(Exception):  # noqa: N818  it ends a forward pass early and is not an error
    """Raised inside a forward pass as soon as all wanted inputs are recorded."""


class _Capture:
    """Collect the inputs of a decoder block's linear layers with a change merged into the model."""

    def __init__(self, corpus: Corpus, recipe: Recipe, change: Change, before: Change = _NOTHING) -> None:
        self._corpus = corpus
        self._recipe = recipe
        self._before = before
        model = corpus.base.model
        tuned = [name for name, delta in change.items() if isinstance(delta, Replaced)]
        self.layers = {
            **adapted_layers(model, recipe),
            **{name: Layer(name, model.get_parameter(name)) for name in tuned},
        }
        learnt = {name: before[name] for name in self.layers if name in before}
        self.layers |= {name: _Learnt(name, self.layers[name].stored, delta) for name, delta in learnt.items()}

    def calibration(self, count: int) -> Sequence[Batch]:
        """Return batches of the first ``count`` training examples."""
        return calibration(self._corpus, self._recipe, count)

    def __call__(self, block: int, change: Change, count: int) -> Mapping[str, Tensor]:
        """Return the inputs [tokens, in] of one block's layers by name, on the CPU, without padding."""
        base = self._corpus.base
        names = [name for name, layer in self.layers.items() if layer.block == block]
        inputs: dict[str, list[Tensor]] = {name: [] for name in names}
        later = {name for name, layer in self.layers.items() if layer.block is not None and layer.block > block}
        reached = Change({name: delta for name, delta in change.items() if name not in later})
        with base.holding(plus(self._before, reached) if self._before else reached) as model:
            for batch in self.calibration(count):
                read = {name: value for name, value in batch.items() if name != "labels"}
                with _recording(model, names, batch["attention_mask"].bool(), inputs):
                    model(**read, use_cache=False)
        return {name: torch.cat(parts) for name, parts in inputs.items()}


@contextmanager
def _recording(
    model: nn.Module, names: Sequence[str], mask: Tensor, inputs: Mapping[str, list[Tensor]]
) -> Iterator[None]:
    """Record the unpadded inputs of the named layers, and end the forward pass at the last layer."""
    seen: set[str] = set()

    def recorder(name: str) -> Any:
        def record(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            inputs[name].append(arguments[0][mask].float().cpu())  # a block of a 7B model has 11 GiB of inputs
            seen.add(name)
            if len(seen) == len(names):
                raise _Stop

        return record

    hooks = [
        model.get_submodule(name.removesuffix(".weight")).register_forward_pre_hook(recorder(name)) for name in names
    ]
    try:
        with suppress(_Stop):
            yield
    finally:
        for hook in hooks:
            hook.remove()
