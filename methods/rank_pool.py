"""Choose, keep and compare the ranks of a LoRA as a pool of rank-one experts, as DAC does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from bench import LowRank


def chosen(scores: Tensor, count: int) -> Tensor:
    """Return the boolean mask of the ``count`` highest scores in each row; of equal scores, the first are taken.

    >>> chosen(torch.tensor([[0.2, 0.5, 0.5]]), 2).tolist()
    [[False, True, True]]
    """
    places = scores.argsort(dim=-1, descending=True, stable=True)[..., :count]
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, places, value=True)


def kept(delta: LowRank, ranks: Tensor) -> LowRank:
    """Return the delta with only the ranks that a mask [rank] selects, in their order."""
    return replace(delta, a=delta.a[ranks], b=delta.b[:, ranks])


def overlap(past: Tensor, now: Tensor, form: str) -> Tensor:
    """Return how much columns ``past`` [out, m] and ``now`` [out, n] overlap, as ``form`` adds up their products.

    >>> overlap(torch.tensor([[1.0], [1.0]]), torch.tensor([[2.0, 0.0], [0.0, -1.0]]), "mean").item()
    0.5
    """
    products = past.T @ now
    if form == "mean":
        return products.mean()
    return products.abs().sum() if form == "abs_sum" else products.abs().mean()
