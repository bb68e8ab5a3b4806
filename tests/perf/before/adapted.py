"""Adapters as peft alone inserts and computes them, for timing next to ours."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn


def pefts(model: nn.Module, target: str, rank: int, dropout: float, *, dora: bool = False) -> Any:
    """Wrap ``model`` with peft's LoRA or DoRA, scale 2, on the linear layers whose names match ``target``."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=dropout, target_modules=target, use_dora=dora, init_lora_weights=True
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        wrapped: Any = get_peft_model(model, config)
    for module in wrapped.modules():
        if dora and (vectors := getattr(module, "lora_magnitude_vector", None)):
            magnitude = vectors["default"].weight
            magnitude.data = module.get_base_layer().weight.detach().float().norm(dim=1)
    assert all(value.dtype == torch.float32 for value in wrapped.parameters() if value.requires_grad)
    return wrapped.train()
