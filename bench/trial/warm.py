"""A lane's cache between trials: base models, and the tokens and vision features of the data."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from bench.model.holding import restore
from bench.model.resident import Base, Form
from bench.plugins.tasks import Tasks
from bench.trial.corpus import Corpus
from bench.trial.feature_files import FeatureFiles
from bench.trial.features import FeatureCache
from bench.values.recipe import Recipe


class Warm:
    """Cache base models by form, and tokens and features by split; ``feature_bytes`` bounds the features in memory.

    ``files`` share the features with other lanes of the machine.
    """

    def __init__(
        self, folder: Path, tasks: Tasks, device: torch.device, feature_bytes: int, files: FeatureFiles | None = None
    ) -> None:
        self._folder = folder
        self._tasks = tasks
        self._device = device
        self._features = FeatureCache(feature_bytes, files)
        self._bases: dict[Form, Base] = {}
        self._corpora: dict[tuple[Form, str, str, str, int | None, bool], Corpus] = {}

    @property
    def model(self) -> nn.Module:
        """One of the base models; read from it only what is the same in all forms."""
        return next(iter(self._bases.values())).model

    def base(self, form: Form) -> Base:
        """Return a base model on the device, with the others moved off it; a GPU may have room for only one."""
        if self._device.type != "cpu":
            for known, base in self._bases.items():
                if known != form:
                    base.rest()
        if form not in self._bases:
            self._bases[form] = Base.load(self._folder, form, self._device)
        self._bases[form].wake()
        return self._bases[form]

    def corpus(self, form: Form, task: str, split: str, template: str) -> Corpus:
        """Return the corpus of a split that is scored, for a base model, and move that model to the device."""
        return self._corpus(form, task, split, template, None)

    def taught(self, form: Form, task: str, recipe: Recipe, *, sparse: bool = False) -> Corpus:
        """Return the corpus of a training split; of a ``sparse`` one, only some examples are read."""
        return self._corpus(form, task, "train", recipe.template, recipe.max_length, sparse=sparse)

    def _corpus(
        self, form: Form, task: str, split: str, template: str, max_length: int | None, *, sparse: bool = False
    ) -> Corpus:
        base, key = self.base(form), (form, task, split, template, max_length, sparse)
        if key not in self._corpora:
            source, cache = self._tasks.load(task), self._features
            self._corpora[key] = Corpus(base, source, split, template, cache, max_length, sparse=sparse)  # type: ignore[arg-type]
        return self._corpora[key]

    def heal(self) -> list[str]:
        """Restore the parameters that a plugin changed, because later trials use them; return their names."""
        touched: list[str] = []
        for base in self._bases.values():
            parameters = dict(base.model.named_parameters())
            written = [name for name, value in base.pristine.items() if _differ(parameters[name], value)]
            touched += written + [name for name, value in parameters.items() if value.requires_grad]
            restore(base.model, written, base.pristine)
            base.model.requires_grad_(requires_grad=False)
        return touched


def _differ(parameter: torch.Tensor, pristine: torch.Tensor) -> bool:
    """Return whether a parameter differs from its pristine value, compared on the parameter's device.

    A GPU casts a 7B model in a moment, one core in 10 s.
    """
    bare = parameter.detach()  # moving a 4-bit weight itself would move its scales too, and leave them there
    return not torch.equal(bare, pristine.to(bare.device).to(bare.dtype))
