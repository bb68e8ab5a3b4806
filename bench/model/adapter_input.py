"""What the A of an adapter reads: its layer's input in the factors' precision, cast once, with dropout.

What autograd keeps of it is the input as it came, which layers share, and one byte an entry for dropout.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from typing_extensions import override

_SOURCE = "bench_source"  # the attribute of a read input with what it can be computed from again


class Casts:
    """The last input that layers share, and its cast, so that it is cast once."""

    def __init__(self) -> None:
        self._source: weakref.ref[Tensor] | None = None
        self._version = 0
        self._cast: Tensor | None = None

    def __call__(self, x: Tensor, dtype: torch.dtype, *, last: bool) -> Tensor:
        """Return a constant cast of ``x``, and keep it until the ``last`` layer that shares ``x`` has read it.

        What a pass has left that ran out of memory is let go before another cast is made.
        """
        if x.dtype == dtype or x.is_inference():
            return x.detach().to(dtype)
        known = self._source is not None and self._source() is x and self._version == x._version
        cast = self._cast if known and self._cast is not None and self._cast.dtype == dtype else None
        self._source, self._version, self._cast = None, 0, None
        if cast is None:
            cast = x.detach().to(dtype)
        if not last:
            self._source, self._version, self._cast = weakref.ref(x), x._version, cast
        return cast


class Factor(nn.Linear):
    """The factor A [rank, in] of an adapter, as a layer."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias=False, device="meta")
        self.weight = weight

    @override
    def forward(self, input: Tensor) -> Tensor:
        """Return A x [..., rank]; an input that ``Reads`` made is computed again for the gradient of A."""
        source: tuple[Tensor, Tensor | None, float] | None = getattr(input, _SOURCE, None)
        weight = self.weight  # once, because a layer may compute it
        if source is None or not weight.requires_grad:
            return linear(input.to(weight.dtype), weight)  # a method may have put another dropout in front
        return _Product.apply(input, weight, *source)  # type: ignore[no-untyped-call, no-any-return]


class Reads(nn.Dropout):
    """Dropout of what a factor A reads, which also casts it to A's dtype; an input that layers share is cast once.

    ``last`` says that no layer after this one shares the input.
    """

    def __init__(self, rate: float, factor: Factor, casts: Casts, *, last: bool) -> None:
        super().__init__(rate)
        self.last = last
        self._casts, self._factor = casts, (factor,)  # in a tuple, which does not make it a part of this module

    @override
    def forward(self, input: Tensor) -> Tensor:
        """Return the input as A reads it, with torch's generator as ``nn.Dropout`` draws from it."""
        rate, dtype = self.p if self.training else 0.0, next(self._factor[0].parameters()).dtype
        if rate == 0 and input.dtype == dtype:
            return input
        wide = self._casts(input, dtype, last=self.last)
        read, mask = _Read.apply(input, wide, rate)  # type: ignore[no-untyped-call]
        setattr(read, _SOURCE, (input, mask, rate))  # with its graph, for a gradient of a gradient
        return read  # type: ignore[no-any-return]


class _Read(torch.autograd.Function):
    """A cast and dropout of x, which keep the mask alone."""

    @staticmethod
    def forward(context: Any, x: Tensor, wide: Tensor, rate: float) -> tuple[Tensor, Tensor | None]:  # type: ignore[override]
        context.dtype, context.rate = x.dtype, rate
        if rate == 0:
            return wide.view_as(wide), None
        read, mask = torch.native_dropout(wide, rate, train=True)
        context.save_for_backward(mask)
        context.mark_non_differentiable(mask)
        return read, mask

    @staticmethod
    def backward(context: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor, None, None]:  # type: ignore[override]
        kept = grad if context.rate == 0 else _dropped(grad, context.saved_tensors[0], context.rate)
        return kept.to(context.dtype), None, None


class _Product(torch.autograd.Function):
    """read @ A^T, which keeps what ``read`` was made from: x, and the mask of dropout."""

    @staticmethod
    def forward(  # type: ignore[override]
        context: Any, read: Tensor, a: Tensor, x: Tensor, mask: Tensor | None, rate: float
    ) -> Tensor:
        context.rate = rate
        context.save_for_backward(a, x, mask)
        return linear(read, a)

    @staticmethod
    def backward(context: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        a, x, mask = context.saved_tensors
        read = x.to(a.dtype)
        read = read if mask is None else _dropped(read, mask, context.rate)
        to_a = grad.reshape(-1, grad.shape[-1]).T @ read.reshape(-1, read.shape[-1])
        return grad @ a if context.needs_input_grad[0] else None, to_a, None, None, None


def _dropped(value: Tensor, mask: Tensor, rate: float) -> Tensor:
    """Return a value times its mask, scaled as dropout scales what stays."""
    found: Tensor = torch.ops.aten.native_dropout_backward(value, mask, 1 / (1 - rate) if rate < 1 else 0.0)
    return found
