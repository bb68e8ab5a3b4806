"""Build a small LLaVA with fresh weights: a tokenizer with one token per word, a processor, a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class Side:
    """The size of one transformer: the vision tower or the decoder."""

    width: int
    inner: int
    layers: int
    heads: int
    key_value_heads: int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a LLaVA; ``attention_bias`` and ``tied`` (embedding = unembedding) concern the decoder."""

    image_size: int
    patch_size: int
    tower: Side
    decoder: Side
    feature_layer: int
    max_length: int
    attention_bias: bool = False
    tied: bool = False
    initializer_range: float = 0.02

    @property
    def image_tokens(self) -> int:
        """The number of decoder tokens that one image takes."""
        return (self.image_size // self.patch_size) ** 2


def word_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per word or punctuation mark; unknown words become ``<unk>``."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = ["<pad>", "<unk>", "</s>", "<image>", *dict.fromkeys(words)]
    core = Tokenizer(models.WordLevel({token: place for place, token in enumerate(tokens)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=2048,
    )


def processor(tokenizer: PreTrainedTokenizerFast, shape: Shape) -> LlavaProcessor:
    """Return a processor that resizes and crops images to the model's size, normalised as CLIP's are."""
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": shape.image_size},
        crop_size={"height": shape.image_size, "width": shape.image_size},
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=shape.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def fresh(tokenizer: PreTrainedTokenizerFast, shape: Shape) -> LlavaForConditionalGeneration:
    """Return a model with weights drawn from torch's global generator."""
    from transformers import CLIPVisionConfig, GenerationConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    tower = CLIPVisionConfig(
        hidden_size=shape.tower.width,
        intermediate_size=shape.tower.inner,
        num_hidden_layers=shape.tower.layers,
        num_attention_heads=shape.tower.heads,
        image_size=shape.image_size,
        patch_size=shape.patch_size,
        projection_dim=shape.tower.width,
    )
    decoder = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.decoder.width,
        intermediate_size=shape.decoder.inner,
        num_hidden_layers=shape.decoder.layers,
        num_attention_heads=shape.decoder.heads,
        num_key_value_heads=shape.decoder.key_value_heads or shape.decoder.heads,
        max_position_embeddings=shape.max_length,
        attention_bias=shape.attention_bias,
        initializer_range=shape.initializer_range,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=shape.tied,
    )
    config = LlavaConfig(
        vision_config=tower,
        text_config=decoder,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=shape.feature_layer,
        vision_feature_select_strategy="default",
        image_seq_length=shape.image_tokens,
        multimodal_projector_bias=True,
        tie_word_embeddings=shape.tied,
        initializer_range=shape.initializer_range,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model
