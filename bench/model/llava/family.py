"""The LLaVA family of transformers: each prompt has one square image with a fixed number of tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from bench.errors import DataError
from bench.model.family import Config, Exchange, Family, Features, Pixels, Processor, linears_of
from bench.model.llava import supported

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

    from bench.values.recipe import ImageMode

_IMAGE = "<image>"  # the image's place in a template
_STATES, _VALUES = "states", "values"


class Llava(Family):
    """LLaVA 1.5 and similar: a CLIP or SigLIP tower, two linear layers, a decoder with Llama's names."""

    title: ClassVar[str] = "LLaVA"
    model_type: ClassVar[str] = "llava"
    # the tower also has layers called q_proj, k_proj and v_proj
    decoder_linears: ClassVar[str] = linears_of("language_model")
    connector_linears: ClassVar[str] = r".*multi_modal_projector\.linear_\d+"
    connector: ClassVar[str] = "multi_modal_projector"
    blocks: ClassVar[re.Pattern[str]] = re.compile(r"language_model\.layers\.(\d+)\.")
    stored_linears: ClassVar[re.Pattern[str]] = supported.STORED_LINEARS
    # these layers come after the selected one, so nothing reads them
    unread: ClassVar[re.Pattern[str]] = re.compile(r"vision_tower\.(?:vision_model\.)?(?:post_layernorm|head)\.")
    # LLaVA-1.5's config.json omits these.
    decoder_sizes: ClassVar[Mapping[str, int]] = {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    }

    @property
    @override
    def model_class(self) -> Any:
        from transformers import LlavaForConditionalGeneration

        return LlavaForConditionalGeneration

    @override
    def refuse_config(self, config: Mapping[str, Any]) -> str | None:
        return supported.refuse_config(config)

    @override
    def refuse_files(self, folder: Path, config: Mapping[str, Any]) -> str | None:
        return supported.refuse_layers(folder, config) or supported.refuse_tokens(folder, config)

    @override
    def connector_shapes(self, config: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
        hidden = {**self.decoder_sizes, **config.get("text_config", {})}["hidden_size"]
        tower = config.get("vision_config", {}).get("hidden_size", 1024)  # LlavaConfig's own tower is CLIP ViT-L
        biases = ((hidden,), (hidden,)) if config.get("multimodal_projector_bias", True) else ()
        return ((hidden, tower), (hidden, hidden), *biases)

    @override
    def processor(self, folder: Path, image: ImageMode) -> Processor:
        """Return a checkpoint's processor, which makes images square as ``image`` says.

        ``pad`` is the original LLaVA's expand2square: borders of the mean colour, int(255 * mean), then a bicubic
        resize. Pillow resizes the images. torchvision's resize is not bit-identical, and results must not depend on
        whether torchvision is installed.

        The number of tokens of an image follows from config.json, because older checkpoints have no
        processor_config.json.
        """
        from transformers import AutoProcessor, LlavaConfig, LlavaImageProcessorPil

        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
        config = LlavaConfig.from_pretrained(folder, local_files_only=True)
        processor.patch_size = config.vision_config.patch_size
        processor.num_additional_image_tokens = supported.CLASS_TOKENS[config.vision_config.model_type]
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy
        if image == "pad":
            own, side = processor.image_processor, config.vision_config.image_size
            processor.image_processor = LlavaImageProcessorPil(
                do_pad=True,
                size={"shortest_edge": side},
                crop_size={"height": side, "width": side},
                image_mean=own.image_mean,
                image_std=own.image_std,
            )
        return processor

    @override
    def take_tower(self, model: Any) -> nn.Module:
        from bench.model.llava.tower import FeatureTower

        tower: nn.Module = model.model.vision_tower
        model.model.vision_tower = FeatureTower()
        return tower

    @override
    def pixels(self, processor: Processor, images: Sequence[Image]) -> Sequence[Pixels]:
        """Return the values [3, side, side] of each image."""
        values = processor.image_processor(images=list(images), return_tensors="pt").pixel_values
        return [{_VALUES: value} for value in values]

    @override
    def encode(self, tower: nn.Module, config: Config, pixels: Sequence[Pixels]) -> Sequence[Features]:
        """Return the selected hidden states [tokens, width] of each image, including the class token."""
        import torch

        weight, values = next(tower.parameters()), torch.stack([item[_VALUES] for item in pixels])
        states = tower(values.to(weight.device, weight.dtype), output_hidden_states=True).hidden_states
        return [{_STATES: selected} for selected in states[config.vision_feature_layer].cpu()]

    @override
    def feature_values(self, config: Config) -> int:
        return (self.image_tokens(config) + 1) * int(config.vision_config.hidden_size)  # + 1 for a dropped class token

    @override
    def image_tokens(self, config: Config) -> int:
        """Return the number of patches and class tokens, minus the one that the strategy ``default`` drops."""
        vision = config.vision_config
        patches = int((vision.image_size // vision.patch_size) ** 2)
        dropped = config.vision_feature_select_strategy == "default"
        return patches + supported.CLASS_TOKENS[vision.model_type] - int(dropped)

    @override
    def placeholder(self, config: Config) -> int:
        return int(config.image_token_index)

    @override
    def ids(self, processor: Processor, config: Config, exchange: Exchange, count: int) -> tuple[list[int], list[int]]:
        """Return prompt and answer tokens; the texts before and after the image are tokenised separately.

        LLaVA does the same. So a tokenizer like Llama's, which begins every text with a space, also puts a space before
        the line break after the image.
        """
        tokenizer, image = processor.tokenizer, self.placeholder(config)
        before, after = _texts(exchange)
        left = [*tokenizer(before).input_ids, *[image] * count]
        right = tokenizer(after, add_special_tokens=False, verbose=False).input_ids
        taught = after if exchange.answer is None else f"{after} {exchange.answer}{tokenizer.eos_token}"
        whole = tokenizer(taught, add_special_tokens=False, verbose=False).input_ids  # long ones are cut or refused
        answer = whole[len(right) :]
        if whole[: len(right)] != right:
            raise DataError("its answer changes how its prompt is split into tokens")
        if image in whole:
            raise DataError(f"its text contains the image token {processor.image_token}")
        if tokenizer.eos_token_id in answer[:-1]:
            raise DataError(f"its answer contains {tokenizer.eos_token}, which ends an answer")
        return [*left, *right], answer

    @override
    def inputs(self, config: Config, ids: Tensor, features: Sequence[Features]) -> dict[str, Tensor]:
        import torch

        return {"pixel_values": torch.stack([item[_STATES] for item in features]).to(ids.device)}


def _texts(exchange: Exchange) -> tuple[str, str]:
    """Return the template's texts before and after the image; ``<image>`` inside the prompt is removed."""
    prompt = exchange.prompt
    if _IMAGE in prompt:
        prompt = prompt.replace(_IMAGE, "").strip()
    before, after = exchange.template.split(_IMAGE)
    return before.replace("{prompt}", prompt), after.replace("{prompt}", prompt)
