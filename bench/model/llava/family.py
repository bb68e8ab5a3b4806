"""The LLaVA family of transformers: each prompt has one square picture with a fixed number of tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from bench.errors import DataError
from bench.model.family import Exchange, Family, Features
from bench.model.llava import names, supported

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

    from bench.spec import ImageMode

_IMAGE = "<image>"  # the image's place in a template
_STATES = "states"


class Llava(Family):
    """LLaVA 1.5 and similar: a CLIP or SigLIP tower, two linear layers, a decoder with Llama's names."""

    title: ClassVar[str] = "LLaVA"
    model_type: ClassVar[str] = "llava"
    decoder_linears: ClassVar[str] = names.LANGUAGE_LINEARS
    connector_linears: ClassVar[str] = names.CONNECTOR_LINEARS
    connector: ClassVar[str] = names.CONNECTOR
    blocks: ClassVar[re.Pattern[str]] = names.BLOCKS
    stored_linears: ClassVar[re.Pattern[str]] = names.STORED_LINEARS
    # these layers come after the selected one, so nothing reads them
    unread: ClassVar[re.Pattern[str]] = re.compile(r"vision_tower\.(?:vision_model\.)?(?:post_layernorm|head)\.")
    # LLaVA-1.5's config.json omits these.
    decoder_sizes: ClassVar[Mapping[str, int]] = {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_attention_heads": 32,
    }

    @property
    @override
    def config_class(self) -> Any:
        from transformers import LlavaConfig

        return LlavaConfig

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
    def processor(self, folder: Path, image: ImageMode) -> Any:
        from bench.model.llava.tower import processor_of

        return processor_of(folder, image)

    @override
    def take_tower(self, model: Any) -> nn.Module:
        from bench.model.llava.tower import FeatureTower

        tower: nn.Module = model.model.vision_tower
        model.model.vision_tower = FeatureTower()
        return tower

    @override
    def encode(self, tower: nn.Module, config: Any, processor: Any, images: Sequence[Image]) -> Sequence[Features]:
        from bench.model.llava.tower import features_of

        return [{_STATES: states} for states in features_of(tower, config, processor, images).cpu()]

    @override
    def feature_values(self, config: Any) -> int:
        return (self.image_tokens(config) + 1) * int(config.vision_config.hidden_size)  # + 1 for a dropped class token

    @override
    def image_tokens(self, config: Any) -> int:
        """Return the number of patches and class tokens, minus the one that the strategy ``default`` drops."""
        vision = config.vision_config
        patches = int((vision.image_size // vision.patch_size) ** 2)
        dropped = config.vision_feature_select_strategy == "default"
        return patches + supported.CLASS_TOKENS[vision.model_type] - int(dropped)

    @override
    def placeholder(self, config: Any) -> int:
        return int(config.image_token_index)

    @override
    def ids(self, processor: Any, config: Any, exchange: Exchange, count: int) -> tuple[list[int], list[int]]:
        """Return prompt and answer tokens; the texts before and after the image are tokenised separately.

        LLaVA does the same. So a tokenizer like Llama's, which begins every text with a space, also puts a space before
        the line break after the image.
        """
        tokenizer, image = processor.tokenizer, self.placeholder(config)
        before, after = _texts(exchange)
        left = [*tokenizer(before).input_ids, *[image] * count]
        right = tokenizer(after, add_special_tokens=False).input_ids
        taught = f"{after} {exchange.answer}{tokenizer.eos_token}"
        whole = tokenizer(taught, add_special_tokens=False).input_ids
        if whole[: len(right)] != right:
            raise DataError("the answer changes how the prompt is split into tokens. Change the end of the prompt.")
        if image in whole:
            raise DataError(f"the text contains the image token {processor.image_token}. Remove it.")
        return [*left, *right], whole[len(right) :]

    @override
    def inputs(self, config: Any, ids: Tensor, features: Sequence[Features]) -> dict[str, Tensor]:
        import torch

        return {"pixel_values": torch.stack([item[_STATES] for item in features]).to(ids.device)}


def _texts(exchange: Exchange) -> tuple[str, str]:
    """Return the template's texts before and after the image; ``<image>`` inside the prompt is removed."""
    prompt = exchange.prompt
    if _IMAGE in prompt:
        prompt = prompt.replace(_IMAGE, "").strip()
    before, after = exchange.template.split(_IMAGE)
    return before.replace("{prompt}", prompt), after.replace("{prompt}", prompt)
