"""Run an EditMethod on its parent's change, and let it read the model's layers and the target's data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench.model.adapters import Layer, adapted_layers
from bench.model.change import Change, Delta, Replaced
from bench.model.four_bit import dequantised
from bench.model.joining import plus
from bench.plugins.method import EditContext, EditMethod
from bench.trial.capture import Capture
from bench.trial.corpus import Corpus
from bench.trial.fit import Fitted
from bench.trial.hooks import called
from bench.trial.stages import calibration
from bench.trial.updates import seed_update
from bench.values.recipe import Recipe

_NOTHING = Change({})


def edit(
    method: EditMethod, change: Change, seed: int, recipe: Recipe, corpus: Corpus, before: Change = _NOTHING
) -> Fitted:
    """Return the parent's change as ``method`` has edited it, and the seconds that the edit took.

    In a sequence of tasks, ``change`` is what the stage has learnt itself, on the base model with the change of the
    stages ``before``; only the stage's own part is edited, and the result has both.
    """
    began = time.monotonic()
    layers, batches = layers_of(corpus.base.model, recipe, change, before), partial(calibration, corpus, recipe)
    context = EditContext(
        generator=seed_update(seed, 0),
        layers=layers,
        calibration=batches,
        capture=Capture(corpus.base, layers, batches, before),
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


def layers_of(model: nn.Module, recipe: Recipe, change: Change, before: Change = _NOTHING) -> Mapping[str, Layer]:
    """Return what ``EditContext.layers`` holds: the adapted layers, and the parameters of a fully tuned connector."""
    tuned = [name for name, delta in change.items() if isinstance(delta, Replaced)]
    layers = {**adapted_layers(model, recipe), **{name: Layer(name, model.get_parameter(name)) for name in tuned}}
    learnt = {name: before[name] for name in layers if name in before}
    return {**layers, **{name: _Learnt(name, layers[name].stored, delta) for name, delta in learnt.items()}}
