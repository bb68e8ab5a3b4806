"""What DoRA adds to an adapted layer: its magnitudes, and the row norms of W0 + scale * B A without forming it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.model.four_bit import float_rows
from bench.model.precision import tf32

ROWS = 1024  # of W0 that are float32 at once, if W0 is stored in another form


def base_norms(weight: Tensor) -> Tensor:
    """Return |W0| [out], the norm of each row of a weight [out, in] as it is stored, in float32.

    A plan's weights are on the device meta, which has no numbers and takes 6 ms for a norm of none.
    """
    if weight.is_meta:
        return weight.new_empty(weight.shape[0], dtype=torch.float32)
    return torch.cat([rows.norm(dim=1) for rows in float_rows(weight, ROWS)])


def row_norms(weight: Tensor, a: Tensor, b: Tensor, scale: float, norms: Tensor) -> Tensor:
    """Return |W0 + scale * B A| [out] by rows in float32, from W0 [out, in], A [rank, in], B [out, rank] and |W0|.

    By rows, |W0 + s B A|^2 = |W0|^2 + 2 s <W0 A^T, B> + s^2 <B (A A^T), B>, where nothing is larger than [out, rank]
    or ``ROWS`` rows of W0, which comes as it is stored. The three are added in float64, so that the result is exactly
    |W0| if B is 0 (arXiv:2603.22276 factors it so, too).

    >>> weight, a, b = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[-4.0]])
    >>> row_norms(weight, a, b, 1.0, base_norms(weight))
    tensor([3.])
    """
    crossed = torch.cat([rows @ a.T for rows in float_rows(weight, ROWS)])
    inner = (crossed * b).sum(dim=1, dtype=torch.float64)
    own = (b @ (a @ a.T) * b).sum(dim=1, dtype=torch.float64)
    return (norms.double() ** 2 + 2 * scale * inner + scale**2 * own).clamp(min=0).sqrt().float()


class Magnitude(nn.Module):
    """The magnitudes m [out] of a layer, which start at |W0|; peft asks it for what DoRA makes of LoRA's layer.

    With ``drop_base``, dropout acts on what W0 reads, too, as in peft. The layer then computes a second base product,
    in the base's dtype. Otherwise dropout acts on what A reads alone.
    """

    base_norms: Tensor

    def __init__(self, weight: Tensor, *, drop_base: bool) -> None:
        super().__init__()
        norms = base_norms(weight)
        self.weight = nn.Parameter(norms)
        self.drop_base = drop_base
        self.register_buffer("base_norms", norms.detach().clone(), persistent=False)
        self._known: tuple[object, Tensor] | None = None

    def norms(self, stored: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
        """Return |W0 + scale * B A| [out] as a constant, computed again only if A or B was written.

        A write counts if it raises the parameter's version; what writes through ``.data`` has to do so by itself.
        """
        if not (isinstance(a, nn.Parameter) and isinstance(b, nn.Parameter)):
            return self._computed(stored, a, b, scale)  # a factor that the layer computes is a new tensor each time
        seen = (scale, *((factor._version, factor.data_ptr(), factor.device) for factor in (a, b)))
        if self._known is None or self._known[0] != seen:
            self._known = (seen, self._computed(stored, a, b, scale))
        return self._known[1]

    def _computed(self, stored: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
        with torch.inference_mode(mode=False), torch.no_grad(), tf32(b.device, allowed=False):
            return row_norms(stored, a, b, scale, self.base_norms)

    def forward(self, layer: Any, *, active_adapter: str, x: Tensor, result: Tensor, **_: Any) -> Tensor:
        """Return the output of a layer of peft, from its input as its A reads it, and its base's output ``result``."""
        base, b, scale = layer.get_base_layer(), layer.lora_B[active_adapter].weight, layer.scaling[active_adapter]
        lowered, dropout = layer.lora_A[active_adapter], layer.lora_dropout[active_adapter]
        norms = self.norms(base.weight, lowered.weight, b, scale)
        dropped = dropout(x)
        # hooks of the base see the layer's input once, so the second product does not call them
        again = base.forward(dropped.to(result.dtype)) if self.drop_base and _drops(dropout) else None
        out: Tensor = _Decomposed.apply(result, again, base.bias, lowered(dropped), b, self.weight, norms, scale)  # type: ignore[no-untyped-call]
        return out


def _drops(dropout: nn.Module) -> bool:
    return isinstance(dropout, nn.Dropout) and dropout.training and dropout.p > 0


class _Decomposed(torch.autograd.Function):
    """result + (g - 1) (base - bias) + g scale * low B^T, with g = m / |V| and |V| a constant (DoRA, section 4.3).

    ``result`` and ``base`` are W0's outputs [..., out] including the bias; without ``base``, it is ``result``. ``low``
    [..., rank] is A's. What is kept for the way back is ``base`` in its own dtype, and ``low``.
    """

    @staticmethod
    def forward(  # type: ignore[override]  # noqa: PLR0913
        context: Any,
        result: Tensor,
        base: Tensor | None,
        bias: Tensor | None,
        low: Tensor,
        b: Tensor,
        magnitude: Tensor,
        norms: Tensor,
        scale: float,
    ) -> Tensor:
        context.scale, context.again = scale, base is not None
        context.save_for_backward(result if base is None else base, bias, low, b, magnitude, norms)
        gain = magnitude / norms
        flat = result.reshape(-1, result.shape[-1])
        out = flat * gain if base is None else flat + base.reshape(flat.shape) * (gain - 1)
        if bias is not None:
            out += bias * (1 - gain)
        out = out.addmm_(low.reshape(-1, low.shape[-1]), (b * (scale * gain).unsqueeze(1)).T)
        return out.view(result.shape)

    @staticmethod
    def backward(context: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        base, bias, low, b, magnitude, norms = context.saved_tensors
        gain, flat = magnitude / norms, grad.reshape(-1, grad.shape[-1])
        scaled = (context.scale * gain).unsqueeze(1)
        crossed = flat.T @ low.reshape(-1, low.shape[-1])  # [out, rank]: the gradient of B, if nothing were scaled
        lengths = (flat * base.reshape(flat.shape)).sum(dim=0) + context.scale * (crossed * b).sum(dim=1)
        if bias is not None:
            lengths = lengths - bias * flat.sum(dim=0)
        to_result, to_base = (grad, grad * (gain - 1)) if context.again else (grad * gain, None)
        to_low = (flat @ (b * scaled)).view(low.shape)
        to_base = None if to_base is None else to_base.to(base.dtype)
        return to_result.to(base.dtype), to_base, None, to_low, crossed * scaled, lengths / norms, None, None
