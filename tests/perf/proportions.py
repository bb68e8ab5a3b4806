"""A LLaVA of the real proportions, and single layers of the real sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.model.llava.tiny import Shape, Side, fresh, word_tokenizer
from bench.recipe import Recipe

SHAPE = Shape(
    image_size=336,
    patch_size=14,
    tower=Side(width=64, inner=128, layers=2, heads=2),
    decoder=Side(width=512, inner=1376, layers=3, heads=4),
    feature_layer=-2,
    max_length=2048,
)
VOCABULARY, TEXT, LEARNT, RANK = 32_064, 64, 20, 8
BLOCKS, DECODER = SHAPE.decoder.layers, r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
LAYERS = ((4096, 4096), (11008, 4096))  # [out, in] of q_proj and of up_proj


def llava(dtype: torch.dtype) -> Any:
    """Return a frozen LLaVA with 576 image tokens a picture and a vocabulary of 32,064."""
    torch.manual_seed(0)
    tokenizer = word_tokenizer(f"w{number}" for number in range(VOCABULARY - 4))
    return fresh(tokenizer, SHAPE).to(dtype).requires_grad_(False)


def recipe(dropout: float) -> Recipe:
    """Return a recipe with a frozen connector, so that only the decoder's layers differ."""
    return Recipe(updates=1, batch_size=1, lr=1e-4, connector_lr=1e-4, dropout=dropout, connector="frozen")


def update(wrapped: nn.Module, count: int) -> Callable[[], object]:
    """Return a function that does a forward and backward pass of ``count`` examples and an update by AdamW.

    The head reads the learnt positions alone.
    """
    inner: Any = wrapped.get_base_model()  # type: ignore[operator]
    generator = torch.Generator().manual_seed(1)
    width, dtype = SHAPE.decoder.width, next(inner.parameters()).dtype
    hidden = torch.randn(count, SHAPE.image_tokens + TEXT, width, generator=generator).to(dtype)
    labels = torch.randint(VOCABULARY, (count * LEARNT,), generator=generator)
    trained = [value for value in wrapped.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)

    def call() -> None:
        out = inner.model.language_model(inputs_embeds=hidden.requires_grad_(), use_cache=False).last_hidden_state
        logits: Tensor = inner.lm_head(out[:, -LEARNT:]).float().flatten(0, 1)
        nn.functional.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return call


def plain_layer(out: int, width: int, dtype: torch.dtype) -> nn.Module:
    """Return a frozen linear layer [out, in] in a module, under the name 0."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, out, bias=False, dtype=dtype)).requires_grad_(False)


def passes(wrapped: nn.Module, width: int, tokens: int, dtype: torch.dtype) -> Callable[[], object]:
    """Return a function that does the forward and backward pass of a single layer."""
    x = torch.randn(tokens, width).to(dtype).requires_grad_()

    def call() -> None:
        wrapped(x).sum().backward()  # type: ignore[no-untyped-call]
        wrapped.zero_grad(set_to_none=True)
        x.grad = None

    return call
