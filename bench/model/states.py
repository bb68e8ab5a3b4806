"""Read the hidden states of a decoder's blocks, and find the tokens that stand for the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bench.model.families import block_of, family_of


def image_positions(model: nn.Module, ids: Tensor) -> Tensor:
    """Return where the token ids [n, length] stand for the image, as booleans of the same shape."""
    return ids == family_of(model).placeholder(model.config)


def decoder_blocks(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of the decoder in order, of a model wrapped by peft or not."""
    found: dict[int, nn.Module] = {}
    for name, module in model.named_modules():
        block = block_of(f"{name}.")
        if block is not None and block not in found:  # a block comes before its own modules
            found[block] = module
    return [found[block] for block in sorted(found)]


@dataclass(slots=True)
class BlockStates:
    """The output [n, length, width] of each watched block in the last forward pass, with its autograd graph."""

    blocks: Sequence[nn.Module]
    last: dict[int, Tensor] = field(default_factory=dict)
    _handles: list[RemovableHandle] = field(default_factory=list)

    def watch(self) -> None:
        """Record every forward pass from now on."""
        self._handles = [block.register_forward_hook(self._recorder(at)) for at, block in enumerate(self.blocks)]

    def stop(self) -> None:
        """Record no more, and forget what was recorded."""
        for handle in self._handles:
            handle.remove()
        self.last.clear()

    def at(self, positions: Tensor) -> list[Tensor]:
        """Return each block's states [tokens, width] at the positions [n, length], in float32."""
        return [self.last[index][positions].float() for index in range(len(self.blocks))]

    def _recorder(self, index: int) -> Any:
        def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            self.last[index] = output[0] if isinstance(output, tuple) else output

        return record


@contextmanager
def recorded(blocks: Sequence[nn.Module]) -> Iterator[BlockStates]:
    """Record the outputs of ``blocks`` until the context ends."""
    states = BlockStates(blocks)
    states.watch()
    try:
        yield states
    finally:
        states.stop()
