"""Let a plain model have a change for a while: merge what merges, and hold the rest live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bench.errors import PluginError, TrialError
from bench.model.change import Change, Delta, Routed
from bench.model.finite import is_finite
from bench.model.routed import held_live


@contextmanager
def holding(model: nn.Module, change: Change, pristine: Mapping[str, Tensor]) -> Iterator[nn.Module]:
    """Let a plain model have ``change``, then restore its pristine weights bit for bit.

    Deltas that merge are merged: each parameter is computed in float32 from ``pristine`` and rounded once to the
    model's dtype. On the CPU the merged values get new memory, because the original pages may belong to a file that
    processes share. Other devices have no room for both, so the merged values overwrite the weights there. Routed
    deltas are added to the outputs of their linear layers, whose weights stay as they are.
    """
    routed = {name: delta for name, delta in change.items() if isinstance(delta, Routed)}
    merging = {name: delta for name, delta in change.items() if name not in routed}
    aside: dict[str, Tensor] = {}
    try:
        for name in merging:
            parameter = model.get_parameter(name)
            if parameter.device.type == "cpu":
                aside[name] = parameter.data
                parameter.data = torch.empty_like(parameter)
        write(model, merging, pristine)
        with held_live(model, routed):
            yield model
    finally:
        for name, value in aside.items():
            model.get_parameter(name).data = value
        restore(model, [name for name in merging if name not in aside], pristine)


@torch.no_grad()
def write(model: nn.Module, change: Mapping[str, Delta], pristine: Mapping[str, Tensor]) -> None:
    """Overwrite the changed parameters of a plain model with merged values, computed on their device.

    Raises:
        TrialError: a merged value is not finite in the precision of the model.
        PluginError: a delta cannot be merged.
    """
    for name, delta in change.items():
        if not delta.merges:
            raise PluginError(f"{name}: a {delta.kind} change cannot be merged, because it differs by example.")
        parameter = model.get_parameter(name)
        # a GPU needs seconds for 7B; a lane's one core would need most of a minute, for every score
        parameter.copy_(delta.merged(pristine[name].to(parameter.device).float()))
        if not is_finite(parameter):
            raise TrialError(f"{name} with the change is not finite in {str(parameter.dtype).removeprefix('torch.')}.")


@torch.no_grad()
def restore(model: nn.Module, names: Iterable[str], pristine: Mapping[str, Tensor]) -> None:
    """Copy the pristine values of the named parameters back into a plain model."""
    for name in names:
        model.get_parameter(name).copy_(pristine[name])
