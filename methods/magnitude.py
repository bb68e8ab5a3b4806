"""Magnitude pruning of a finished LoRA: keep the largest entries of its change, drop the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from typing_extensions import override

from bench import Change, EditContext, EditMethod, LowRank, Sparse, hyper

if TYPE_CHECKING:
    from torch import Tensor

    from bench import Delta, Dimensions


def largest(delta: Tensor, density: float) -> Tensor:
    """Return, for every entry, whether it is among the floor(density * entries) largest in magnitude.

    >>> largest(torch.tensor([[0.1, -0.4], [0.3, 0.2]]), 0.5).tolist()
    [[False, True], [True, False]]
    """
    keep = torch.zeros(delta.numel(), dtype=torch.bool)
    keep[delta.abs().flatten().topk(int(delta.numel() * density)).indices.cpu()] = True
    return keep.view(delta.shape)


@dataclass(kw_only=True)
class Magnitude(EditMethod):
    """Delta W <- M * Delta W, M the ``density`` largest |Delta W| of each adapted matrix [out, in]; no rescaling.

    The LoRASculpt paper's Figure 1 prunes a trained LoRA after the fact and does not say whether its factors or their
    product; here it is the product scale * B A, which is what the model computes with. A tuned connector is left alone.
    """

    name: ClassVar[str] = "magnitude"
    paper: ClassVar[str] = "Han et al., Learning both Weights and Connections, NeurIPS 2015, arXiv:1506.02626"
    off: ClassVar[dict[str, float]] = {"density": 1.0}

    density: float = hyper(0.1, low=0.01, high=1.0, log=True, minimum=0.0, maximum=1.0)

    @override
    def edit(self, change: Change, context: EditContext) -> Change:
        if self.density == 1:
            return change
        adapted = {name: delta for name, delta in change.items() if isinstance(delta, LowRank)}
        return change.replace({name: self._pruned(name, delta, context) for name, delta in adapted.items()})

    @override
    def change_bytes(self, dimensions: Dimensions) -> int | None:
        if self.density == 1:
            return None
        return sum(-(-layer.entries // 8) + 4 * int(layer.entries * self.density) for layer in dimensions.layers)

    def _pruned(self, name: str, delta: LowRank, context: EditContext) -> Delta:
        base = context.layers[name].weight.detach().float()
        value = delta.product() if type(delta) is LowRank else delta.merged(base) - base
        return Sparse.of(value, largest(value, self.density))
