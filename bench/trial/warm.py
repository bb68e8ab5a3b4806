"""What stays warm between the trials of a lane: base models, and what was read and computed of the data."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from bench.model.adapters import restore
from bench.model.resident import Base, Form
from bench.plugins.tasks import Tasks
from bench.trial.corpus import Corpus
from bench.trial.features import FeatureCache


class Warm:
    """Base models by their form, and a task's tokens and vision features by split; the features within a bound."""

    def __init__(self, folder: Path, tasks: Tasks, device: torch.device, feature_bytes: int) -> None:
        self._folder = folder
        self._tasks = tasks
        self._device = device
        self._features = FeatureCache(feature_bytes)
        self._bases: dict[Form, Base] = {}
        self._corpora: dict[tuple[Form, str, str, str], Corpus] = {}

    @property
    def model(self) -> nn.Module:
        """Any of the base models: what their forms do not differ in can be read from it."""
        return next(iter(self._bases.values())).model

    def base(self, form: Form) -> Base:
        """Return a base model, ready on the device; there the others rest: a GPU may have room for one alone."""
        if self._device.type != "cpu":
            for known, base in self._bases.items():
                if known != form:
                    base.rest()
        if form not in self._bases:
            self._bases[form] = Base.load(self._folder, form, self._device)
        self._bases[form].wake()
        return self._bases[form]

    def corpus(self, form: Form, task: str, split: str, template: str) -> Corpus:
        """Return a split's examples for a base model, which is ready then."""
        base, key = self.base(form), (form, task, split, template)
        if key not in self._corpora:
            source = self._tasks.load(task)
            self._corpora[key] = Corpus(base, source, split, template, self._features)  # type: ignore[arg-type]
        return self._corpora[key]

    def heal(self) -> list[str]:
        """Put the base models back where a plugin wrote to them, and name what it was: later trials stand on them."""
        touched: list[str] = []
        for base in self._bases.values():
            parameters = dict(base.model.named_parameters())
            written = [name for name, value in base.pristine.items() if _differ(parameters[name], value)]
            touched += written + [name for name, value in parameters.items() if value.requires_grad]
            restore(base.model, written, base.pristine)
            base.model.requires_grad_(requires_grad=False)
        return touched


def _differ(parameter: torch.Tensor, pristine: torch.Tensor) -> bool:
    """Whether a parameter is not what it was, found out where it lies: a GPU casts 7B in a moment, one core in 10 s."""
    bare = parameter.detach()  # moved itself, a weight in 4 bits would take its scales along, and leave them there
    return not torch.equal(bare, pristine.to(bare.device).to(bare.dtype))
