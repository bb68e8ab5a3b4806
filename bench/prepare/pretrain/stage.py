"""What all stages of pretraining share: the model's shape, the training loop, the progress callback."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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


def train(
    name: str,
    stage: Stage,
    parameters: Sequence[nn.Parameter],
    losses: Callable[[], Iterable[Tensor]],
    progress: OnStage,
    heads: Sequence[nn.Parameter] = (),
) -> None:
    """Run a stage; ``losses`` draws the parts of one update's loss.

    The gradient of ``parameters`` is clipped, that of the auxiliary ``heads`` is not.
    """
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.AdamW(
        [*parameters, *heads], lr=stage.lr, weight_decay=stage.weight_decay, betas=(0.9, 0.98)
    )
    rates = get_cosine_schedule_with_warmup(optimizer, stage.steps // 20, stage.steps)
    total = 0.0
    for step in range(1, stage.steps + 1):
        optimizer.zero_grad(set_to_none=True)
        for loss in losses():
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rates.step()
        if step % 100 == 0:
            progress(f"{name} {step}/{stage.steps} loss {total / 100:.3f}")
            total = 0.0
