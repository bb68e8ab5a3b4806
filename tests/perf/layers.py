"""Single layers of the real sizes, and a model of the real proportions, to time what is inside an adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bench.model import adapters
from bench.values.recipe import Recipe
from tests.perf import scaled
from tests.perf.before.adapted import pefts

SIZES = ((4096, 4096), (11008, 4096))  # [out, in] of q_proj and of up_proj
DECODER = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
RANK, MODEL_RANK = 32, 8  # 8 is of 512 what 64 is of 4,096


def recipe(dropout: float) -> Recipe:
    """Return a recipe with a frozen connector, so that only the decoder's layers differ."""
    return Recipe(updates=1, batch_size=1, lr=1e-4, connector_lr=1e-4, dropout=dropout, connector="frozen")


def llava(dtype: torch.dtype) -> Any:
    """Return a LLaVA with three blocks of width 512."""
    return scaled.model(scaled.WIDE).to(dtype)


def update(wrapped: Any, dtype: torch.dtype) -> Callable[[], object]:
    """Return a function that makes an update of the model with one example."""
    batch = scaled.batch(wrapped, 1)
    return scaled.update(wrapped, {**batch, "pixel_values": batch["pixel_values"].to(dtype)})


def plain(out: int, width: int, dtype: torch.dtype) -> nn.Module:
    """Return a frozen linear layer [out, in] in a module, under the name 0."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, out, bias=False, dtype=dtype)).requires_grad_(False)


def ours(layer: nn.Module, dropout: float, *, dora: bool = False, drop_base: bool = True) -> Any:
    """Return a layer from ``plain`` with an adapter as ``insert_lora`` gives it to the layers of a model."""
    wrapped = pefts(layer, "0", RANK, dropout)
    adapters._read_once(wrapped, dropout)
    if dora:
        adapters._decompose(wrapped, drop_base=drop_base)
    return wrapped


def passes(wrapped: nn.Module, width: int, tokens: int, dtype: torch.dtype) -> Callable[[], object]:
    """Return a function that does the forward and backward pass of a single layer."""
    x = torch.randn(tokens, width).to(dtype).requires_grad_()

    def call() -> None:
        wrapped(x).sum().backward()  # type: ignore[no-untyped-call]
        wrapped.zero_grad(set_to_none=True)
        x.grad = None

    return call
