"""Give autograd a value whose gradients are already computed in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def with_gradients(value: Tensor, *pairs: tuple[Tensor, Tensor]) -> Tensor:
    """Return ``value`` as a scalar that is differentiable: each pair is a tensor and the value's gradient in it.

    >>> import torch
    >>> weight = torch.tensor([3.0], requires_grad=True)
    >>> with_gradients(torch.tensor(9.0), (weight, torch.tensor([6.0]))).backward()
    >>> weight.grad.tolist()
    [6.0]
    """
    for tensor, gradient in pairs:
        # x - x.detach() is 0 and has gradient 1: the value stays exact, and autograd returns the given gradient
        value = value + ((tensor - tensor.detach()) * gradient).sum()
    return value
