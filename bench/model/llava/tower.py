"""LLaVA's frozen vision tower: its replacement in the model, its features, and its image processor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from typing_extensions import override

from bench.spec import ImageMode

if TYPE_CHECKING:
    from PIL.Image import Image


class _Layers(dict[int, Tensor]):
    """Hidden states by layer; only the selected layer was kept, and every index returns it."""

    def __init__(self, features: Tensor) -> None:
        self._features = features

    @override
    def __getitem__(self, layer: int) -> Tensor:
        return self._features


class FeatureTower(nn.Module):
    """A replacement for the frozen vision tower: takes cached features [n, tokens, width] as pixels."""

    @override
    def forward(self, pixel_values: Tensor, **_: object) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        return BaseModelOutputWithPooling(hidden_states=_Layers(pixel_values))


def features_of(tower: nn.Module, config: Any, processor: Any, images: Sequence[Image]) -> Tensor:
    """Return the tower's selected hidden states [n, tokens, width] of images, including the class token."""
    pixels = processor.image_processor(images=list(images), return_tensors="pt").pixel_values
    weight = next(tower.parameters())
    states = tower(pixels.to(weight.device, weight.dtype), output_hidden_states=True).hidden_states
    selected: Tensor = states[config.vision_feature_layer]
    return selected


def processor_of(folder: Path, image: ImageMode) -> Any:
    """Return a checkpoint's processor, which makes images square as ``image`` says.

    ``pad`` is the original LLaVA's expand2square: borders of the mean colour, int(255 * mean), then a bicubic resize.
    Pillow resizes the images. torchvision's resize would give other bits, and results must not depend on whether
    torchvision is installed.
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
