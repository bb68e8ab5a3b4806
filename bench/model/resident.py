"""A base model that stays resident in a lane: loaded once, and unchanged by every trial."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from bench.errors import DataError
from bench.model import four_bit, weights
from bench.model.change import Change
from bench.model.families import family_of
from bench.model.family import Family, Features, Pixels, Processor
from bench.model.finite import first_not_finite
from bench.model.holding import holding, write
from bench.model.tower_key import tower_key
from bench.values.recipe import Dtype, ImageMode, Quantization, Recipe

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a base model: precision, how images become square, and whether its decoder is in 4 bits."""

    dtype: Dtype = "float32"
    image: ImageMode = "processor"
    quantization: Quantization = "none"

    @classmethod
    def training(cls, recipe: Recipe) -> Self:
        """Return the form that adapters are trained on."""
        return cls(recipe.train_dtype, recipe.image, recipe.quantization)

    @classmethod
    def editing(cls, recipe: Recipe) -> Self:
        """Return the form that an edit reads: full weights, because the edited change applies to them."""
        return cls(recipe.train_dtype, recipe.image)

    @classmethod
    def evaluation(cls, recipe: Recipe) -> Self:
        """Return the form that is evaluated: full weights."""
        return cls(recipe.eval_dtype, recipe.image)


@dataclass(frozen=True, eq=False)
class Base:
    """A resident base model, its separate frozen tower, and its pristine weights.

    The pristine weights are on the CPU, in the checkpoint's dtype.
    """

    model: nn.Module
    tower: nn.Module
    processor: Processor
    pristine: Mapping[str, Tensor]
    device: torch.device
    _held: list[Change] = field(default_factory=list)  # the changes that the model has, the current one last

    @classmethod
    def load(cls, folder: Path, form: Form, device: torch.device) -> Base:
        """Load a checkpoint in evaluation mode, without trainable parameters.

        On the CPU and in the checkpoint's own dtype, the weights are pages of its files that all processes share.

        Raises:
            DataError: a weight is infinite or NaN.
        """
        model: Any
        model, names = weights.load(folder)
        model.eval().requires_grad_(requires_grad=False)
        family = family_of(model)
        dtype = getattr(torch, form.dtype)
        if form.quantization == "4bit":
            four_bit.quantise(model, family.decoder_linears, dtype, device)
            names = {name: own for name, own in names.items() if model.get_parameter(name).is_floating_point()}
        weights.cast(model, dtype, device)
        if name := first_not_finite(model.named_parameters()):
            raise DataError(
                f"{folder} has a weight that is not finite in {form.dtype}: {name}. Get the checkpoint again, or "
                "choose another precision (--set recipe.eval_dtype=float32)."
            )
        tower = family.take_tower(model)
        pristine = weights.pristine(model, folder, names)
        return cls(model, tower, family.processor(folder, form.image), pristine, device)

    def tree(self) -> nn.Module:
        """Return a new module tree around the same tensors; what a trial inserts vanishes with the tree."""
        shared = [*self.model.parameters(), *self.model.buffers(), *four_bit.states(self.model)]
        return copy.deepcopy(self.model, {id(value): value for value in shared})

    @contextmanager
    def holding(self, change: Change) -> Iterator[nn.Module]:
        """Let the model have a change; within another such context, instead of the outer change."""
        self._held.append(change)
        try:
            with holding(self.model, change, self.pristine) as model:
                yield model
        finally:
            self._held.pop()
            if self.device.type != "cpu":  # there, the inner change has overwritten the weights
                self._hold_again()

    def _hold_again(self) -> None:
        """Write the change that the model has over its pristine weights."""
        if self._held:
            write(self.model, self._held[-1], self.pristine)

    def rest(self) -> None:
        """Free the device's memory: until ``wake`` the weights are the pristine ones on the CPU."""
        for name, value in self.pristine.items():
            self.model.get_parameter(name).data = value

    def wake(self) -> None:
        """Move pristine weights that rest on the CPU back to the device, in the tower's dtype."""
        dtype, moved = next(self.tower.parameters()).dtype, False
        for name, value in self.pristine.items():
            parameter = self.model.get_parameter(name)
            wanted = dtype if value.is_floating_point() else value.dtype
            if (parameter.device.type, parameter.dtype) != (self.device.type, wanted):
                parameter.data = value.to(self.device).to(wanted)  # cast on the device: one core takes 10 s for 7B
                moved = True
        if moved:
            self._hold_again()

    @property
    def family(self) -> Family:
        """The model's family."""
        return family_of(self.model)

    @property
    def feature_bytes(self) -> int:
        """The largest size of one image's features in bytes."""
        return self.family.feature_values(self.model.config) * next(self.tower.parameters()).element_size()

    @cached_property
    def tower_key(self) -> str:
        """A digest of what decides the bits of features, except the images."""
        return tower_key(self.family, self.tower, self.model.config, self.processor)

    def pixels(self, images: Sequence[Image]) -> Sequence[Pixels]:
        """Return each image as the tower takes it, on the CPU; several threads may call this at once."""
        return self.family.pixels(self.processor, images)

    @torch.no_grad()
    def encode(self, pixels: Sequence[Pixels]) -> Sequence[Features]:
        """Return the tower's features of each image, on the CPU."""
        return self.family.encode(self.tower, self.model.config, pixels)
