"""A LLaVA with the proportions of the 7B model: 576 image tokens, 32,064 words, and a few blocks of modest width."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from bench.model.adapters import insert_lora
from bench.model.answer_loss import IGNORED, answer_loss
from bench.model.families import family_of
from bench.model.llava.tiny import Shape, Side, fresh, word_tokenizer
from bench.values.recipe import Recipe

RANK = 32
RECIPE = Recipe(updates=1, batch_size=16, lr=2e-4, connector_lr=2e-5, dropout=0.05)
WORDS = 32_060  # with the four special tokens 32,064
SYSTEM, QUESTION, ANSWER = 35, 24, 4  # tokens before the image, after it, and of an answer
IMAGE_TOKENS = 576
_TOWER = Side(64, 128, 1, 2)


@cache
def tokenizer() -> Any:
    """Return a tokenizer with 32,064 words."""
    return word_tokenizer(f"w{number}" for number in range(WORDS))


SHAPE = Shape(336, 14, _TOWER, Side(256, 704, 4, 4), feature_layer=-1, max_length=2048)
WIDE = Shape(336, 14, _TOWER, Side(512, 1376, 3, 4), feature_layer=-1, max_length=2048)  # to time layers in a model


@cache
def _whole(shape: Shape) -> tuple[Any, nn.Module]:
    """Return a model with random weights whose inputs are features, and its tower."""
    torch.manual_seed(0)
    made: Any = fresh(tokenizer(), shape).eval().requires_grad_(requires_grad=False)
    return made, family_of(made).take_tower(made)


def model(shape: Shape = SHAPE) -> Any:
    """Return a copy of the model, in float32, whose inputs are features."""
    return copy.deepcopy(_whole(shape)[0])


def tower(shape: Shape = SHAPE) -> nn.Module:
    """Return the model's tower."""
    return _whole(shape)[1]


def adapted(tree: Any, *, dora: bool = False) -> nn.Module:
    """Return a model with adapters of rank 32 in training mode; B is not zero, so that every factor has a gradient."""
    wrapped = insert_lora(tree, RANK, RECIPE, dora=dora).train()
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=1e-3)
    return wrapped


def batch(model: Any, examples: int, *, images: int | None = None) -> dict[str, Tensor]:
    """Return a training batch of drawn ids: a system prompt, the image, a question, and an answer, which is learnt."""
    generator = torch.Generator().manual_seed(1)
    config = model.config
    text = torch.randint(4, WORDS, (examples, SYSTEM + QUESTION + ANSWER), generator=generator)
    system, rest = text[:1, :SYSTEM].expand(examples, -1), text[:, SYSTEM:]
    ids = torch.cat([system, torch.full((examples, IMAGE_TOKENS), config.image_token_index), rest], dim=1)
    labels = ids.clone()
    labels[:, :-ANSWER] = IGNORED
    drawn = torch.randn(images or examples, IMAGE_TOKENS + 1, _TOWER.width, generator=generator)
    features = [{"states": each} for each in drawn.repeat_interleave(examples // len(drawn), dim=0)]
    inputs = family_of(model).inputs(config, ids, features)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels, **inputs}


def update(wrapped: nn.Module, batch: Mapping[str, Tensor]) -> Callable[[], object]:
    """Return a function that makes an update by AdamW with a batch."""
    trained = [value for value in wrapped.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RECIPE.lr)
    learnt = int((batch["labels"] != IGNORED).sum())

    def call() -> None:
        answer_loss(wrapped, batch, learnt).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return call
