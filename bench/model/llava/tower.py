"""What replaces LLaVA's frozen vision tower in the model."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from typing_extensions import override


class _Layers(dict[int, Tensor]):
    """Hidden states by layer; only the selected layer was kept, and every index returns it."""

    def __init__(self, features: Tensor) -> None:
        self._features = features

    @override
    def __getitem__(self, layer: int) -> Tensor:
        return self._features


class FeatureTower(nn.Module):
    """A replacement for the frozen vision tower: takes cached features [n, tokens, width] as pixels."""

    @override
    def forward(self, pixel_values: Tensor, **_: object) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        return BaseModelOutputWithPooling(hidden_states=_Layers(pixel_values))
