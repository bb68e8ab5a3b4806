"""A base model that stays resident in a lane: loaded once, and untouched by every trial."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from typing_extensions import override

if TYPE_CHECKING:
    from PIL.Image import Image


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
    """A resident base model, its frozen tower apart, and the pristine weights on the CPU."""

    model: nn.Module
    tower: nn.Module
    processor: Any
    pristine: Mapping[str, Tensor]
    device: torch.device

    @classmethod
    def load(cls, folder: Path, dtype: str, device: torch.device) -> Base:
        """Load a LLaVA checkpoint from a folder, in evaluation mode, with nothing trainable."""
        from transformers import AutoProcessor, LlavaForConditionalGeneration
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # the command line draws progress, the engine never does
        model = LlavaForConditionalGeneration.from_pretrained(
            folder, dtype=getattr(torch, dtype), local_files_only=True
        )
        model.to(device).eval().requires_grad_(requires_grad=False)
        tower = model.model.vision_tower
        model.model.vision_tower = FeatureTower()
        pristine = {name: value.detach().to("cpu", copy=True) for name, value in model.named_parameters()}
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        return cls(model, tower, processor, pristine, device)

    def tree(self) -> nn.Module:
        """Return a new module tree around the same tensors: what a trial inserts there dies with the tree."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return copy.deepcopy(self.model, {id(tensor): tensor for tensor in tensors})

    @property
    def image_tokens(self) -> int:
        """How many tokens of the decoder one image takes."""
        config: Any = self.model.config
        vision = config.vision_config
        return int((vision.image_size // vision.patch_size) ** 2)

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
