"""A random LLaVA of 17,000 parameters and a task of coloured squares, in memory: what the checks train on."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from bench.api import Example, Split, Task
from bench.data import Corpus
from bench.models import Base, FeatureTower
from bench.spec import Asked, Recipe, digest

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

# lr is large: the change must be visible after six updates. No warm-up: its first update would have lr 0.
RECIPE = Recipe(updates=6, batch_size=8, lr=1e-2, connector_lr=1e-3, warmup=0.0)
RANK = 2

_PIXELS, _PATCH = 16, 8
_QUESTIONS = ("what color is it ?", "color ?", "which color has this square ?")
_COLORS = {  # answers of one to four tokens, so that a mean of means is not the mean
    "red": (200, 30, 30),
    "blue": (30, 30, 200),
    "dark green": (0, 70, 0),
    "very light gray": (220, 220, 220),
    "something like warm orange": (240, 150, 40),
}
_COUNTS = {"train": 48, "validation": 8, "test": 12}
_FIRST = {"train": 0, "validation": 1000, "test": 2000}


class Squares(Task):
    """Name the color of a square. Learnable, and small enough to hold in the head."""

    name: ClassVar[str] = "squares"
    paper: ClassVar[str] = "drawn here, for the conformance suite"
    primary: ClassVar[str] = "exact"
    max_new_tokens: ClassVar[int] = 4

    @override
    def examples(self, split: Split) -> Sequence[Example]:
        return _examples(split)

    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        pairs = zip(examples, predictions, strict=True)
        return {"exact": np.array([float(said in example.answers) for example, said in pairs])}


@dataclass(frozen=True, slots=True, eq=False)
class Tiny:
    """A fresh base model with its training and test examples."""

    base: Base
    train: Corpus
    test: Corpus

    @property
    def asked(self) -> Asked:
        """The test split, asked for whole."""
        task = self.test.task
        return Asked(task.name, "test", len(self.test.examples), "", task.max_new_tokens, "")

    def batch(self, count: int = 8) -> Mapping[str, Tensor]:
        """Return the first training examples, answers included."""
        return self.train.training_batch(range(count), RECIPE.max_length)


def tiny(dtype: str = "float32") -> Tiny:
    """Return a base model and its data, equal at every call and shared with nobody.

    From here on torch uses one thread, as a lane does on the CPU: one and two threads differ in bits.
    """
    torch.set_num_threads(1)
    model = copy.deepcopy(_model()).to(getattr(torch, dtype))
    tower, model.model.vision_tower = model.model.vision_tower, FeatureTower()
    pristine = {name: value.detach().clone() for name, value in model.named_parameters()}
    base = Base(model, tower, _processor(), pristine, torch.device("cpu"))
    task = Squares()
    return Tiny(base, *(Corpus(base, task, split, RECIPE.template) for split in ("train", "test")))  # type: ignore[arg-type]


@cache
def _examples(split: Split) -> tuple[Example, ...]:
    examples = []
    for place in range(_COUNTS[split]):
        number = _FIRST[split] + place
        rng = np.random.default_rng(number)
        answer = list(_COLORS)[rng.integers(len(_COLORS))]
        question = _QUESTIONS[rng.integers(len(_QUESTIONS))]
        examples.append(Example(f"{split}-{place}", question, (answer,), _square(_COLORS[answer], rng)))
    return tuple(examples)


def _square(color: Sequence[int], rng: np.random.Generator) -> Image:
    from PIL import Image

    noise = rng.integers(-20, 21, size=(_PIXELS, _PIXELS, 3))
    return Image.fromarray(np.clip(np.array(color) + noise, 0, 255).astype(np.uint8))


def _tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = " ".join([*_QUESTIONS, *_COLORS, "USER : ASSISTANT"]).split()
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
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


@cache
def _processor() -> Any:
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": _PIXELS}, crop_size={"height": _PIXELS, "width": _PIXELS}
        ),
        tokenizer=_tokenizer(),
        patch_size=_PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


@cache
def _model() -> LlavaForConditionalGeneration:
    from transformers import CLIPVisionConfig, GenerationConfig, LlamaConfig, LlavaConfig
    from transformers import LlavaForConditionalGeneration as Llava

    tokenizer = _processor().tokenizer
    # Every side of every matrix differs from the others it could be mistaken for. The weights are large, so
    # that a change of one of them shows in the outputs.
    tower = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=_PIXELS,
        patch_size=_PATCH,
        projection_dim=16,
    )
    decoder = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.15,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    config = LlavaConfig(
        vision_config=tower,
        text_config=decoder,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=(_PIXELS // _PATCH) ** 2,
        multimodal_projector_bias=True,
        tie_word_embeddings=False,
        initializer_range=0.15,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(digest("tiny")[:15], 16))
        model = Llava(config)
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model.eval().requires_grad_(requires_grad=False)
