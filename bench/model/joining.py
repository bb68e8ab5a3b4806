"""Add changes, and let a new training continue from one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.errors import PluginError
from bench.model.adapters import Adapter, lora_adapters, tuned_connector
from bench.model.change import Change, Decomposed, Delta, Dense, LowRank, Replaced, Sparse
from bench.model.family import role_of


def plus(first: Change, second: Change) -> Change:
    """Return the change that applies ``first`` and then ``second``, which was learnt on base + ``first``.

    Low-rank deltas are joined exactly: their factors are stacked, and B takes the scale. Two sparse deltas stay sparse.
    Of two tuned parameters the later one stays. All other pairs become dense.

    Raises:
        PluginError: a delta is not a plain change of weights, so nothing can be added to it.
    """
    both = {name: _sum(name, first[name], delta) for name, delta in second.items() if name in first}
    return Change({**first, **second, **both})


def _sum(name: str, first: Delta, second: Delta) -> Delta:
    if isinstance(second, Replaced):
        return second
    if isinstance(first, Replaced):
        return Replaced(second.merged(first.value.float()))
    if type(first) is LowRank and type(second) is LowRank:
        b = torch.cat([first.scale * first.b.float(), second.scale * second.b.float()], dim=1)
        return LowRank(b, torch.cat([first.a.float(), second.a.float()]), 1.0)
    if type(first) is Sparse and type(second) is Sparse:
        return _union(first, second)
    like = next((delta for delta in (first, second) if isinstance(delta, Dense)), None)
    shape = _shape(first) or _shape(second) or (None if like is None else like.delta.shape)
    if shape is None:
        raise PluginError(f"{name}: a {first.kind} and a {second.kind} change cannot be added.")
    return Dense(sum((_dense(name, delta, shape) for delta in (first, second)), torch.zeros(shape)))


def _union(first: Sparse, second: Sparse) -> Sparse:
    """Return the sum of two sparse deltas, which stays sparse; the shape of the matrix is not needed."""
    flat = torch.Size((8 * first.mask.numel(),))  # of the bits, whose last ones pad
    total = first.merged(torch.zeros(flat)) + second.merged(torch.zeros(flat))
    return Sparse.of(total, first.keep(flat) | second.keep(flat))


def _shape(delta: Delta) -> torch.Size | None:
    return torch.Size((delta.b.shape[0], delta.a.shape[1])) if type(delta) is LowRank else None


def _dense(name: str, delta: Delta, shape: torch.Size) -> Tensor:
    """Return a delta as a matrix [out, in], if it does not depend on the weight that it changes."""
    if type(delta) not in (LowRank, Dense, Sparse):
        raise PluginError(f"{name}: nothing can be added to a {delta.kind} change, because it depends on the weight.")
    return delta.merged(torch.zeros(shape))


@torch.no_grad()
def continue_from(model: nn.Module, previous: Change) -> None:
    """Copy a change into the live factors and the tuned connector of a model that ``insert_lora`` has wrapped.

    Raises:
        PluginError: the change is not of these factors: it has another kind, rank or scale, or lacks a layer.
    """
    for adapter in lora_adapters(model):
        delta = previous.get(adapter.name)
        _check(adapter, delta)
        assert isinstance(delta, LowRank)
        adapter.a.copy_(delta.a)
        adapter.b.copy_(delta.b)
        if adapter.magnitude is not None and isinstance(delta, Decomposed):
            adapter.magnitude.copy_(delta.magnitude)
    for name, parameter in tuned_connector(model).items():
        delta = previous.get(name)
        if isinstance(delta, Replaced):
            parameter.copy_(delta.value)


def _check(adapter: Adapter, delta: Delta | None) -> None:
    wanted = LowRank if adapter.magnitude is None else Decomposed
    what = f"{role_of(adapter.name)} of block {adapter.block}" if adapter.block is not None else adapter.name
    if type(delta) is not wanted:
        kind = "no change" if delta is None else f"a {delta.kind} change"
        raise PluginError(
            f"The previous stage left {kind} of {what}, which {wanted.kind} adapters cannot continue. Override start()."
        )
    assert isinstance(delta, LowRank)
    if (delta.a.shape, delta.b.shape, delta.scale) != (adapter.a.shape, adapter.b.shape, adapter.scale):
        raise PluginError(
            f"The previous stage left rank {delta.a.shape[0]} with scale {delta.scale:g} for {what}, but this stage "
            f"trains rank {adapter.a.shape[0]} with scale {adapter.scale:g}. Override start()."
        )
