"""A LLaVA of the 7B model's proportions and little width: 576 tokens a picture, 32,064 words, random weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.model.families import family_of
from bench.model.llava.tiny import Shape, Side, fresh, processor, word_tokenizer
from bench.model.resident import Base

_WORDS = 32_064 - 4  # without the tokens that are not words
_TEXT, _ANSWER = 64, 10  # the longest text of an example, and the learnt tokens at its end
_FIRST = 4  # the first word


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """A base model of real proportions, and made-up examples of it."""

    base: Base
    shape: Shape

    def batch(self, count: int, seed: int = 0) -> Mapping[str, Tensor]:
        """Return a training batch: a picture's tokens and 40 to 64 text tokens a row, padded on the right."""
        generator, picture = torch.Generator().manual_seed(seed), self.shape.image_tokens
        length = picture + _TEXT
        ids = torch.randint(_FIRST, _WORDS, (count, length), generator=generator)
        ids[:, 1 : 1 + picture] = self.base.family.placeholder(self.base.model.config)
        cut = torch.randint(0, 25, (count, 1), generator=generator)
        cut[0] = 0
        place = torch.arange(length)
        mask = place < length - cut
        labels = ids.where(mask & (place >= length - cut - _ANSWER), -100)
        pixels = torch.randn(count, picture + 1, self.shape.tower.width, generator=generator)
        return {
            "input_ids": ids.where(mask, 0),
            "attention_mask": mask.long(),
            "labels": labels,
            "pixel_values": pixels.to(next(self.base.model.parameters()).dtype),
        }


def scaled(blocks: int, width: int = 128, dtype: str = "float32") -> Scaled:
    """Return a LLaVA with ``blocks`` decoder blocks of a width, and heads and inner layers of the 7B model's shape."""
    decoder = Side(width=width, inner=width * 43 // 16, layers=blocks, heads=max(1, width // 64))
    tower = Side(width=64, inner=64, layers=2, heads=2)
    shape = Shape(336, 14, tower=tower, decoder=decoder, feature_layer=-2, max_length=2048)
    words = processor(word_tokenizer(f"word{number}" for number in range(_WORDS)), shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(blocks)
        model = fresh(words.tokenizer, shape).eval().requires_grad_(requires_grad=False)
    own = family_of(model.to(getattr(torch, dtype))).take_tower(model)
    pristine = {name: value.detach().clone() for name, value in model.named_parameters()}
    return Scaled(Base(model, own, words, pristine, torch.device("cpu")), shape)
