"""What all stages of pretraining share: the model's shape, the schedule, the progress callback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bench.model.llava.tiny import Shape, Side

OnStage = Callable[[str], None]

SHAPE = Shape(
    image_size=64,
    patch_size=16,
    tower=Side(width=128, inner=256, layers=4, heads=4),
    decoder=Side(width=128, inner=256, layers=4, heads=4),
    feature_layer=-1,
    max_length=2048,
    attention_bias=True,
    tied=True,
)


@dataclass(frozen=True, slots=True)
class Stage:
    """How one stage is trained: AdamW, linear warm-up over 5 % of the steps, cosine to zero."""

    steps: int
    batch_size: int
    lr: float
    weight_decay: float


def schedule(stage: Stage, parameters: Sequence[nn.Parameter]) -> tuple[Any, Any]:
    """Return the stage's optimizer and its learning-rate schedule."""
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.AdamW(parameters, lr=stage.lr, weight_decay=stage.weight_decay, betas=(0.9, 0.98))
    return optimizer, get_cosine_schedule_with_warmup(optimizer, stage.steps // 20, stage.steps)
