"""A made-up family of models that is like LLaVA in nothing that LLaVA alone has, and a tiny random model of it.

Its decoder is called text_model. Its connector is one linear layer, called bridge. A picture takes two to four tokens,
which all have one position. The model has to be told which tokens are a picture's, and has a prompt of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoProcessor, LlamaConfig, LlamaModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from typing_extensions import override

from bench.checks.tiny import tiny
from bench.model import checkpoints
from bench.model.family import Exchange, Family, Features, Pixels, linears_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from bench.values.recipe import ImageMode

_PATCH, _PATCHES = 8, 4  # of the checks' pictures, 16 x 16
_SPREAD = 0.35  # smaller random weights hide a wrong position: the answers agree by luck


class SecondConfig(PreTrainedConfig):  # type: ignore[misc]
    model_type = "second"
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": LlamaConfig}

    def __init__(self, text_config: Any = None, sight: int = 12, placeholder: int = 3, **others: Any) -> None:
        self.text_config = LlamaConfig(**text_config) if isinstance(text_config, dict) else text_config or LlamaConfig()
        self.sight = sight
        self.placeholder = placeholder
        super().__init__(**others)


class Eyes(nn.Module):
    """The tower: a linear layer for each patch, of a name that a decoder's has too."""

    def __init__(self, sight: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(3 * _PATCH**2, sight)

    @override
    def forward(self, patches: Tensor) -> Tensor:
        return torch.tanh(self.q_proj(patches))


class SecondModel(PreTrainedModel):  # type: ignore[misc]
    config_class = SecondConfig
    _supports_sdpa = True
    supports_gradient_checkpointing = True

    def __init__(self, config: SecondConfig) -> None:
        super().__init__(config)
        self.eyes: nn.Module = Eyes(config.sight)
        self.bridge = nn.Linear(config.sight, config.text_config.hidden_size)
        self.text_model = LlamaModel(config.text_config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    @override
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        seen: Tensor | None = None,
        kinds: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Any = None,
        shift_labels: Tensor | None = None,
        **others: Any,
    ) -> CausalLMOutputWithPast:
        embeddings = self.text_model.embed_tokens(input_ids)
        if seen is not None:
            image = (input_ids == self.config.placeholder)[..., None]
            embeddings = embeddings.masked_scatter(image, self.bridge(seen))
        if kinds is not None:
            embeddings = embeddings * (1 + kinds[..., None])
        if position_ids is None:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            position_ids = places(input_ids, mask, self.config.placeholder)
        outputs = self.text_model(
            inputs_embeds=embeddings, attention_mask=attention_mask, position_ids=position_ids[0], **others
        )
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        logits = logits.index_fill(-1, input_ids.new_tensor([self.config.placeholder]), -1e4)  # it is never an answer
        loss = None
        if labels is not None:
            vocabulary = self.config.text_config.vocab_size
            words = {"num_items_in_batch": num_items_in_batch, "shift_labels": shift_labels}
            loss = self.loss_function(logits, labels, vocabulary, **words)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=outputs.past_key_values)


def places(ids: Tensor, mask: Tensor, placeholder: int) -> Tensor:
    """Return positions [1, n, length] in which all tokens of a picture have one."""
    image = ids == placeholder
    goes_on = image & nn.functional.pad(image, (1, 0))[:, :-1]
    return ((mask.long() * ~goes_on).cumsum(-1) - 1).clamp(min=0)[None]


class Second(Family):
    """The family, as another package would have it."""

    title: ClassVar[str] = "Second"
    model_type: ClassVar[str] = "second"
    decoder_linears: ClassVar[str] = linears_of("text_model")
    connector_linears: ClassVar[str] = "bridge"
    connector: ClassVar[str] = "bridge"
    blocks: ClassVar[re.Pattern[str]] = re.compile(r"text_model\.layers\.(\d+)\.")
    stored_linears: ClassVar[re.Pattern[str]] = re.compile(linears_of("text_model") + r"\.weight")

    @property
    @override
    def model_class(self) -> Any:
        return SecondModel

    @override
    def refuse_config(self, config: Mapping[str, Any]) -> str | None:
        return None if config.get("sight") else "it is blind"

    @override
    def refuse_files(self, folder: Path, config: Mapping[str, Any]) -> str | None:
        names = {place.name for place in checkpoints.places(folder)}
        return None if "bridge.weight" in names else "it has no bridge"

    @override
    def connector_shapes(self, config: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
        hidden = config["text_config"]["hidden_size"]
        return ((hidden, config["sight"]), (hidden,))

    @override
    def processor(self, folder: Path, image: ImageMode) -> Any:
        return AutoProcessor.from_pretrained(folder, local_files_only=True)

    @override
    def take_tower(self, model: Any) -> nn.Module:
        tower: nn.Module = model.eyes
        model.eyes = nn.Identity()
        return tower

    @override
    def pixels(self, processor: Any, images: Sequence[Image]) -> Sequence[Pixels]:
        return [{"patches": _patches(image)} for image in images]

    @override
    def encode(self, tower: nn.Module, config: Any, pixels: Sequence[Pixels]) -> Sequence[Features]:
        weight, parts = next(tower.parameters()), [item["patches"] for item in pixels]
        return [{"seen": tower(part.to(weight)), "size": torch.tensor(len(part))} for part in parts]

    @override
    def feature_values(self, config: Any) -> int:
        return _PATCHES * int(config.sight) + 2

    @override
    def image_tokens(self, config: Any) -> int:
        return _PATCHES

    @override
    def tokens_of(self, config: Any, processor: Any, picture: Callable[[], Image]) -> int:
        return _count(picture())

    @override
    def placeholder(self, config: Any) -> int:
        return int(config.placeholder)

    @override
    def ids(self, processor: Any, config: Any, exchange: Exchange, count: int) -> tuple[list[int], list[int]]:
        tokenizer = processor.tokenizer
        asked = tokenizer(exchange.prompt, add_special_tokens=False).input_ids
        bounds = tokenizer("USER : ASSISTANT", add_special_tokens=False).input_ids
        answer = tokenizer(f"{exchange.answer} {tokenizer.eos_token}", add_special_tokens=False).input_ids
        return [bounds[0], *asked, *[config.placeholder] * count, *bounds[1:]], answer

    @override
    def inputs(self, config: Any, ids: Tensor, features: Sequence[Features]) -> dict[str, Tensor]:
        assert all(len(item["seen"]) == item["size"] for item in features)
        seen = torch.cat([item["seen"] for item in features]).to(ids.device)
        return {"seen": seen, "kinds": (ids == config.placeholder).to(seen.dtype)}

    @override
    def positions(self, config: Any, batch: Mapping[str, Tensor]) -> Tensor:
        return places(batch["input_ids"], batch["attention_mask"], config.placeholder)


def _count(image: Image) -> int:
    """Return how many patches of a picture are looked at: two to four, as its first pixel says."""
    return 2 + int(np.asarray(image)[0, 0, 0]) % (_PATCHES - 1)


def _patches(image: Image) -> Tensor:
    """Return the patches that are looked at, [tokens, numbers]."""
    pixels = torch.from_numpy(np.asarray(image).copy()).float().permute(2, 0, 1) / 128 - 1
    parts = pixels.unfold(1, _PATCH, _PATCH).unfold(2, _PATCH, _PATCH)
    return parts.permute(1, 2, 0, 3, 4).reshape(_PATCHES, -1)[: _count(image)]


def write_second(folder: Path) -> None:
    """Write a checkpoint of the family: random weights, and the checks' words."""
    processor = tiny().base.processor
    text = LlamaConfig(
        vocab_size=len(processor.tokenizer),
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=processor.tokenizer.eos_token_id,
        pad_token_id=processor.tokenizer.pad_token_id,
    )
    model = SecondModel(SecondConfig(text, placeholder=processor.tokenizer.convert_tokens_to_ids("<image>")))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, _SPREAD, generator=generator)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
