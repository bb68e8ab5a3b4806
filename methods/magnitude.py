"""Magnitude pruning: keep the largest entries of the change of a finished LoRA, and drop the rest."""

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
    """Return the boolean mask of the floor(density * entries) entries that are largest in magnitude.

    >>> largest(torch.tensor([[0.1, -0.4], [0.3, 0.2]]), 0.5).tolist()
    [[False, True], [True, False]]
    """
    keep = torch.zeros(delta.numel(), dtype=torch.bool)
    keep[delta.abs().flatten().topk(int(delta.numel() * density), sorted=False).indices.cpu()] = True
    return keep.view(delta.shape)


@dataclass(kw_only=True)
class Magnitude(EditMethod):
    """Delta W <- M * Delta W, where M [out, in] masks the ``density`` largest |Delta W|; no rescaling.

    Each adapted matrix has its own M. Figure 1 of the LoRASculpt paper prunes a LoRA after its training, and the paper
    does not say whether it prunes the factors or their product. This method prunes the product scale * B A, because
    the model computes with the product. The method does not change a tuned connector.
    """

    name: ClassVar[str] = "magnitude"
    display: ClassVar[str] = "Magnitude pruning"
    paper: ClassVar[str] = "Han et al., Learning both Weights and Connections, NeurIPS 2015, arXiv:1506.02626"
    off: ClassVar[dict[str, float]] = {"density": 1.0}
    trivial: ClassVar[bool] = True

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
