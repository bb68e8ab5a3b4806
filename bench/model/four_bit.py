"""Quantise a frozen base to 4 bits with bitsandbytes; adapters train on it (QLoRA, arXiv:2305.14314)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import TrialError

NEEDED = "--base 4bit needs bitsandbytes. Install it: pip install 'retain-bench[4bit]'"
# Entries that share a scale. On a CPU, bitsandbytes 0.50 dequantises as if no block continued in the next row.
_BLOCK = 64


def quantise(model: nn.Module, pattern: str, dtype: torch.dtype, device: torch.device) -> None:
    """Replace the linear layers that match ``pattern`` with NF4 layers that compute in ``dtype``.

    The scales are quantised too (double quantisation).

    Raises:
        TrialError: bitsandbytes is not installed, or cannot read such layers correctly on this device.
    """
    try:
        from bitsandbytes.nn import Linear4bit, Params4bit
    except ImportError as error:
        raise TrialError(NEEDED) from error
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for name in names:
        if re.fullmatch(pattern, name) is None:
            continue
        linear: Any = model.get_submodule(name)
        if device.type == "cpu" and linear.in_features % _BLOCK:
            raise TrialError(
                f"{name} has {linear.in_features} inputs. On a CPU, bitsandbytes reads 4-bit layers correctly only if "
                f"the number is a multiple of {_BLOCK}. Use a GPU, or --base full."
            )
        packed = Linear4bit(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            compute_dtype=dtype,
            compress_statistics=True,
            quant_type="nf4",
            device="meta",
        )
        weight = linear.weight.data.to(dtype)
        packed.weight = Params4bit(
            weight, requires_grad=False, compress_statistics=True, quant_type="nf4", module=packed
        )
        packed.bias = linear.bias
        model.set_submodule(name, packed.to(device).eval())
    setattr(model, "is_loaded_in_4bit", True)  # noqa: B010  peft's layers dequantise because of this mark


def dequantised(weight: Tensor) -> Tensor:
    """Return a weight [out, in] itself, or a 4-bit weight as float32 values, dequantised at each call."""
    state = getattr(weight, "quant_state", None)
    if state is None:
        return weight
    from bitsandbytes.functional import dequantize_4bit

    numbers: Tensor = dequantize_4bit(weight.data, state)
    return numbers.float()


def float_rows(weight: Tensor, count: int) -> Iterator[Tensor]:
    """Yield a weight [out, in] in parts of ``count`` rows, in float32; a 4-bit weight is dequantised part by part.

    A part of a 4-bit weight has to begin with a new scale, so ``count`` is a multiple of the entries that share one.
    """
    state = getattr(weight, "quant_state", None)
    if state is None:
        yield from (rows.float() for rows in torch.split(weight, count))
        return
    from bitsandbytes.functional import QuantState, dequantize_4bit, dequantize_blockwise

    assert state.nested  # as quantise() makes it
    assert count % state.blocksize == 0
    scales = (dequantize_blockwise(state.absmax, state.state2) + state.offset).float()
    packed, (rows, columns) = weight.data.view(-1, 1), state.shape
    for start in range(0, rows, count):
        stop = min(start + count, rows)
        first, end = start * columns, stop * columns
        own = scales[first // state.blocksize : -(-end // state.blocksize)]
        shape = torch.Size((stop - start, columns))
        part = QuantState(own, shape, state.code, state.blocksize, state.quant_type, state.dtype)
        yield dequantize_4bit(packed[first // 2 : -(-end // 2)], part).float()


def states(model: nn.Module) -> list[Any]:
    """Return the scales of all 4-bit weights; a copied module tree has to share them like the tensors."""
    found = (getattr(parameter, "quant_state", None) for parameter in model.parameters())
    return [state for state in found if state is not None]
