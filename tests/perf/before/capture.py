"""The capture that ``bench/trial/capture.py`` has replaced: each call merges all blocks and runs from the start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from bench.model.adapters import Layer
from bench.model.change import Change
from bench.model.joining import plus
from bench.model.resident import Base
from bench.plugins.method import Batch


class _Stop(Exception):  # noqa: N818  it ends a forward pass early and is not an error
    """Raised inside a forward pass as soon as all wanted inputs are recorded."""


class Capture:
    """Collect the inputs of a decoder block's linear layers with a change merged into the model."""

    def __init__(
        self,
        base: Base,
        layers: Mapping[str, Layer],
        calibration: Callable[[int], Sequence[Batch]],
        before: Change | None = None,
    ) -> None:
        self._base, self._layers, self._calibration, self._before = base, layers, calibration, before

    @torch.no_grad()
    def __call__(self, block: int, change: Change, count: int) -> Mapping[str, Tensor]:
        """Return the inputs [tokens, in] of one block's layers by name, on the CPU, without padding."""
        names = [name for name, layer in self._layers.items() if layer.block == block]
        inputs: dict[str, list[Tensor]] = {name: [] for name in names}
        later = {name for name, layer in self._layers.items() if layer.block is not None and layer.block > block}
        reached = Change({name: delta for name, delta in change.items() if name not in later})
        with self._base.holding(plus(self._before, reached) if self._before else reached) as model:
            for batch in self._calibration(count):
                read = {name: value for name, value in batch.items() if name != "labels"}
                with _recording(model, names, batch["attention_mask"].bool(), inputs):
                    model(**read, use_cache=False)
        return {name: torch.cat(parts) for name, parts in inputs.items()}


@contextmanager
def _recording(
    model: nn.Module, names: Sequence[str], mask: Tensor, inputs: Mapping[str, list[Tensor]]
) -> Iterator[None]:
    """Record the unpadded inputs of the named layers, and end the forward pass at the last layer."""
    seen: set[str] = set()

    def recorder(name: str) -> Any:
        def record(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            inputs[name].append(arguments[0][mask].float().cpu())
            seen.add(name)
            if len(seen) == len(names):
                raise _Stop

        return record

    hooks = [
        model.get_submodule(name.removesuffix(".weight")).register_forward_pre_hook(recorder(name)) for name in names
    ]
    try:
        with suppress(_Stop):
            yield
    finally:
        for hook in hooks:
            hook.remove()
