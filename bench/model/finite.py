"""Check that numbers are finite: what is infinite or NaN is never a result."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from bench.model.change import Change


def is_finite(tensor: Tensor) -> bool:
    """Return whether no entry is infinite or NaN; one pass finds both, because the extremes of a NaN are NaN.

    >>> is_finite(torch.tensor([1.0, float("nan")])), is_finite(torch.zeros(0))
    (False, True)
    """
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return bool(torch.isfinite(torch.stack(torch.aminmax(tensor.detach()))).all())


def first_not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """Return the name of the first tensor with an infinite or NaN entry, or None."""
    return next((name for name, tensor in tensors if not is_finite(tensor)), None)


def broken_delta(change: Change) -> str | None:
    """Return the name of the first parameter whose change is not finite, or None."""
    return first_not_finite((name, tensor) for name, delta in change.items() for tensor in delta.tensors().values())
