"""A base model that stays resident in a lane: loaded once, and untouched by every trial."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench.model import four_bit, supported, weights
from bench.model.names import LANGUAGE_LINEARS
from bench.spec import Dtype, ImageMode, Quantization, Recipe

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Form:
    """How a base model is held: its precision, what makes images square, and whether its decoder is in 4 bits."""

    dtype: Dtype = "float32"
    image: ImageMode = "processor"
    quantization: Quantization = "none"

    @classmethod
    def training(cls, recipe: Recipe) -> Self:
        """Return the form that adapters are trained on."""
        return cls(recipe.train_dtype, recipe.image, recipe.quantization)

    @classmethod
    def editing(cls, recipe: Recipe) -> Self:
        """Return the form that an edit reads: its change is of the full weights."""
        return cls(recipe.train_dtype, recipe.image)

    @classmethod
    def evaluation(cls, recipe: Recipe) -> Self:
        """Return the form that is evaluated: the full weights."""
        return cls(recipe.eval_dtype, recipe.image)


class _Layers(dict[int, Tensor]):
    """Hidden states by layer, of which only the selected one was kept."""

    def __init__(self, features: Tensor) -> None:
        self._features = features

    @override
    def __getitem__(self, layer: int) -> Tensor:
        return self._features


class FeatureTower(nn.Module):
    """Stands in for the frozen vision tower: takes its cached features [n, tokens, width] as the pixels."""

    @override
    def forward(self, pixel_values: Tensor, **_: object) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        return BaseModelOutputWithPooling(hidden_states=_Layers(pixel_values))


@dataclass(frozen=True, eq=False)
class Base:
    """A resident base model, its frozen tower apart, and the pristine weights on the CPU, in the checkpoint's dtype."""

    model: nn.Module
    tower: nn.Module
    processor: Any
    pristine: Mapping[str, Tensor]
    device: torch.device

    @classmethod
    def load(cls, folder: Path, form: Form, device: torch.device) -> Base:
        """Load a LLaVA checkpoint from a folder, in evaluation mode, with nothing trainable.

        On the CPU, in the checkpoint's own dtype, the weights are pages of its files that all processes share.
        """
        model: Any
        model, names = weights.load(folder)
        model.eval().requires_grad_(requires_grad=False)
        dtype = getattr(torch, form.dtype)
        if form.quantization == "4bit":
            four_bit.quantise(model, LANGUAGE_LINEARS, dtype, device)
            names = {name: own for name, own in names.items() if model.get_parameter(name).is_floating_point()}
        weights.cast(model, dtype, device)
        tower, model.model.vision_tower = model.model.vision_tower, FeatureTower()
        pristine = weights.pristine(model, folder, names)
        return cls(model, tower, processor_of(folder, form.image), pristine, device)

    def tree(self) -> nn.Module:
        """Return a new module tree around the same tensors: what a trial inserts there dies with the tree."""
        shared = [*self.model.parameters(), *self.model.buffers(), *four_bit.states(self.model)]
        return copy.deepcopy(self.model, {id(value): value for value in shared})

    def rest(self) -> None:
        """Give the device's memory back: the weights are the pristine ones of the CPU until ``wake``."""
        for name, value in self.pristine.items():
            self.model.get_parameter(name).data = value

    def wake(self) -> None:
        """Bring the pristine weights to the device again where they rest, in the tower's dtype."""
        dtype = next(self.tower.parameters()).dtype
        for name, value in self.pristine.items():
            parameter = self.model.get_parameter(name)
            wanted = dtype if value.is_floating_point() else value.dtype
            if (parameter.device.type, parameter.dtype) != (self.device.type, wanted):
                parameter.data = value.to(self.device).to(wanted)  # cast there: one core takes 10 s for 7B

    @property
    def image_tokens(self) -> int:
        """How many tokens of the decoder one image takes: a patch each, and the class token where all are selected."""
        return supported.image_tokens(self.model.config)

    @property
    def feature_bytes(self) -> int:
        """How large the features of one image are at most, a class token included."""
        config: Any = self.model.config
        return (
            (self.image_tokens + 1)
            * int(config.vision_config.hidden_size)
            * next(self.tower.parameters()).element_size()
        )

    @torch.no_grad()
    def features(self, images: Sequence[Image]) -> Tensor:
        """Return the tower's selected hidden states [n, tokens, width] of images, class token included."""
        pixels = self.processor.image_processor(images=list(images), return_tensors="pt").pixel_values
        pixels = pixels.to(self.device, next(self.tower.parameters()).dtype)
        states = self.tower(pixels, output_hidden_states=True).hidden_states
        config: Any = self.model.config
        selected: Tensor = states[config.vision_feature_layer]
        return selected


def processor_of(folder: Path, image: ImageMode) -> Any:
    """Return a checkpoint's processor, its images made square as ``image`` says.

    ``pad`` is the original LLaVA's expand2square: borders of the mean colour, int(255 * mean), then a bicubic resize.
    Images go through Pillow: torchvision's resize gives other bits, and whether it is installed may not matter.
    """
    from transformers import AutoProcessor, LlavaConfig, LlavaImageProcessorPil

    processor = AutoProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    if image == "pad":
        own = processor.image_processor
        side = LlavaConfig.from_pretrained(folder, local_files_only=True).vision_config.image_size
        processor.image_processor = LlavaImageProcessorPil(
            do_pad=True,
            size={"shortest_edge": side},
            crop_size={"height": side, "width": side},
            image_mean=own.image_mean,
            image_std=own.image_std,
        )
    return processor
