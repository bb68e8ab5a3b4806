"""LiNeS: scale back what a method has learnt, early blocks of the decoder most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bench import Change, EditContext, EditMethod, hyper

from .rewind import Rewind

if TYPE_CHECKING:
    from bench import Delta, Layer


def factor(block: int, blocks: int, alpha: float) -> float:
    """Return alpha + (1 - alpha) * block / (blocks - 1), or 1 if the decoder has a single block.

    >>> [round(factor(block, 4, 0.3), 4) for block in range(4)]
    [0.3, 0.5333, 0.7667, 1.0]
    """
    return alpha + (1 - alpha) * block / (blocks - 1) if blocks > 1 else 1.0


@dataclass(kw_only=True)
class LiNeS(EditMethod):
    """W = W0 + f_l * (W' - W0) for every changed parameter W' [out, in] or [out] of decoder block l.

    f_l grows linearly from ``alpha`` in the first block to 1 in the last one, because early blocks hold general
    knowledge and late blocks task-specific knowledge. The equation and the factor outside the blocks are those of the
    authors' code. Rewind is the same edit with one factor for all blocks.

    ``alpha``      the factor of the first block. The authors choose it on the validation data of the target and of
                   control tasks. Here the control tasks are sources, which are for testing only, so the default is a
                   choice of ours, and ``bench search`` tunes it on validation.
    ``connector``  a choice of ours: ``alpha`` scales what the connector has learnt by alpha, as the authors' code does
                   with every parameter outside the blocks; ``keep`` leaves it, as DARE and Model Tailor do.
    """

    name: ClassVar[str] = "lines"
    display: ClassVar[str] = "LiNeS"
    paper: ClassVar[str] = "Wang et al., LiNeS, ICLR 2025, arXiv:2410.17146"
    off: ClassVar[dict[str, float]] = {"alpha": 1.0}

    alpha: float = hyper(0.5, low=0.0, high=1.0, minimum=0.0, maximum=1.0)
    connector: str = hyper("alpha", choices=("alpha", "keep"), search=False)

    @override
    def edit(self, change: Change, context: EditContext) -> Change:
        if self.alpha == 1:
            return change
        blocks = 1 + max((layer.block for layer in context.layers.values() if layer.block is not None), default=0)
        edited: dict[str, Delta] = {}
        for name, delta in change.items():
            rewind = Rewind(strength=self._factor(context.layers.get(name), blocks))
            edited |= rewind.edit(Change({name: delta}), context)
        return Change(edited)

    def _factor(self, layer: Layer | None, blocks: int) -> float:
        if layer is not None and layer.block is not None:
            return factor(layer.block, blocks, self.alpha)
        return 1.0 if self.connector == "keep" else self.alpha
