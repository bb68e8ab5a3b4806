"""LoRA: low-rank adapters on every linear layer of the decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bench import TrainMethod, insert_lora, lora_change

if TYPE_CHECKING:
    from torch import nn

    from bench import Change, Recipe


@dataclass(kw_only=True)
class LoRA(TrainMethod):
    """W = W0 + scale * B A, with A and B trained and W0 frozen. It is the baseline of every other method."""

    name: ClassVar[str] = "lora"
    display: ClassVar[str] = "LoRA"
    paper: ClassVar[str] = "Hu et al., LoRA, ICLR 2022, arXiv:2106.09685"

    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        return insert_lora(model, rank, recipe)

    @override
    def change(self, model: nn.Module) -> Change:
        return lora_change(model)
