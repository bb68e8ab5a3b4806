"""A LLaVA-1.5-7B of drawn weights on the device, a small one of the same make, and drawn questions on pictures."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from typing_extensions import override

from bench.model.families import family_of
from bench.model.llava.tiny import processor, word_tokenizer
from bench.model.published import PUBLISHED
from bench.model.resident import Base
from bench.plan.suite import LORASCULPT
from bench.plugins.method import Method
from bench.plugins.task import Example, Split, Task
from bench.prepare.price.blueprint import Blueprint
from bench.prepare.price.quote import LEARNT_TOKENS, TEXT_TOKENS
from bench.trial.corpus import Corpus
from bench.trial.mixture import Lessons, Mixture, Union
from tests.perf import scaled

UPDATES, RANK = 20, 32
ANSWERS, ON_EACH = 64, 32  # questions to answer, and how many of them are on one picture
# Both precisions are bfloat16, so that one model in memory does for training and for answers.
RECIPE = replace(LORASCULPT.recipe, updates=UPDATES, eval_dtype="bfloat16")

_EXAMPLES = 160  # Model Tailor calibrates on 128 of them
_PICTURES = 32  # one group for the tower, so that no update after the first waits for it
_WORDS = {False: scaled.WORDS, True: 996}  # by whether the model is small; with four special tokens 32,064 and 1,000
_SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}


@cache
def tokenizer(small: bool) -> Any:
    """Return a tokenizer with one token per word, and as many words as the model has."""
    return word_tokenizer(f"w{number}" for number in range(_WORDS[small]))


def config(*, small: bool) -> Any:
    """Return the configuration of LLaVA-1.5-7B, or of a model with the same parts and widths of 64 and 128."""
    from transformers import LlavaConfig

    found: dict[str, Any] = copy.deepcopy(dict(PUBLISHED[LORASCULPT.model]))
    if small:
        found["text_config"] |= _SMALL | {"num_key_value_heads": 4}
        found["vision_config"] |= _SMALL | {"image_size": 28, "projection_dim": 64}
    words = tokenizer(small)
    found["text_config"] |= {
        "vocab_size": len(words),
        "bos_token_id": None,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": 0,
    }
    found["image_token_index"] = words.convert_tokens_to_ids("<image>")
    return LlavaConfig.from_dict(found)


def draw(device: torch.device, *, small: bool) -> Base:
    """Return a model of weights drawn on the device, in the recipe's precision."""
    from transformers import LlavaForConditionalGeneration

    torch.manual_seed(0)
    made = config(small=small)
    with torch.device(device):
        model: Any = LlavaForConditionalGeneration._from_config(made, dtype=getattr(torch, RECIPE.train_dtype))
    model.eval().requires_grad_(requires_grad=False)
    tower = family_of(model).take_tower(model)
    pristine = {name: value.detach().to("cpu", copy=True) for name, value in model.named_parameters()}
    vision = made.vision_config
    shape = replace(scaled.SHAPE, image_size=vision.image_size, patch_size=vision.patch_size)
    return Base(model, tower, processor(tokenizer(small), shape), pristine, device)


class Questions(Task):
    """Drawn questions on drawn pictures, each as long as ``bench plan`` assumes an example to be."""

    name: ClassVar[str] = "questions"
    paper: ClassVar[str] = "drawn here, for timings"
    primary: ClassVar[str] = "exact"

    small: bool = False

    @override
    def examples(self, split: Split) -> Sequence[Example]:
        rng, taught = np.random.default_rng(0), split == "train"
        count, pictures = (_EXAMPLES, _PICTURES) if taught else (ANSWERS, ANSWERS // ON_EACH)
        drawn = [Image.fromarray(rng.integers(0, 255, (336, 336, 3), dtype=np.uint8)) for _ in range(pictures)]
        answer = LEARNT_TOKENS - 1  # its end is learnt, too
        words = TEXT_TOKENS - LEARNT_TOKENS - _template_tokens(self.small)
        found = []
        for number in range(count):
            length = words if taught else int(rng.integers(words // 2, words + 1))
            picture = drawn[number * pictures // count]
            question, reply = self._drawn(rng, length), self._drawn(rng, answer)
            found.append(Example(str(number), question, (reply,), picture))
        return found

    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {"exact": np.zeros(len(examples))}

    def _drawn(self, rng: np.random.Generator, count: int) -> str:
        return " ".join(f"w{word}" for word in rng.integers(0, _WORDS[self.small], count))


def _template_tokens(small: bool) -> int:
    parts = RECIPE.template.replace("{prompt}", "").split("<image>")
    return sum(len(tokenizer(small)(part).input_ids) for part in parts)


@dataclass(frozen=True, eq=False)
class Subject:
    """The drawn model with its examples, and its blueprint for what ``bench plan`` foretells.

    ``lessons`` are the training examples with those of two sources, and ``joint`` are those of three tasks.
    """

    base: Base
    blueprint: Blueprint
    train: Corpus
    test: Corpus
    lessons: Mixture
    joint: Union
    drawing_seconds: float = field(default=0.0)

    @classmethod
    def of(cls, device: torch.device, *, small: bool) -> Subject:
        """Draw a model and its examples."""
        began = time.monotonic()
        base = draw(device, small=small)
        train, old, older = (_corpus(base, "train", small) for _ in range(3))
        mixture, joint = Mixture(train, {"old": old, "older": older}), Union({"new": train, "old": old, "older": older})
        blueprint = Blueprint(config(small=small))
        return cls(base, blueprint, train, _corpus(base, "test", small), mixture, joint, time.monotonic() - began)

    @property
    def tokens(self) -> int:
        """How many tokens a training example has."""
        return self.blueprint.image_tokens + TEXT_TOKENS

    def lessons_of(self, method: Method) -> Lessons:
        """Return what a method is trained on: three tasks together, if it is made for that."""
        return self.joint if method.made_for == "joint" else self.lessons


def _corpus(base: Base, split: Split, small: bool) -> Corpus:
    task = Questions()
    task.small = small
    return Corpus(base, task, split, RECIPE.template)
