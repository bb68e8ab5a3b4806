"""DoRA: LoRA on the direction of each weight row; the row's length is trained separately."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bench import insert_lora

from .lora import LoRA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from bench import Dimensions, Recipe


@dataclass(kw_only=True)
class DoRA(LoRA):
    """W = diag(m / |V|) V with V = W0 + scale * B A; m [out] starts as |W0| and is trained (Eq. 5).

    |.| is the norm of each row of a weight [out, in], one norm per output. (The paper writes the weight transposed
    and says "column-wise".) The gradient treats |V| as a constant (section 4.3), and the bias is not scaled.
    The change is a ``bench.Decomposed``.

    ``off`` is empty because no setting turns a trained magnitude into plain LoRA. This is peft's ``use_dora``, but m
    starts in float32: peft rounds it to the precision of the base, so that W is not W0 at the start. The LoRASculpt
    paper gives no settings for DoRA, so DoRA uses LoRA's settings.
    """

    name: ClassVar[str] = "dora"
    display: ClassVar[str] = "DoRA"
    paper: ClassVar[str] = "Liu et al., DoRA, ICML 2024, arXiv:2402.09353"

    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        return insert_lora(model, rank, recipe, dora=True)

    @override
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        # peft computes |V| from the identity [in, in], scale * B A, W0 and their sum [out, in], all in float32
        largest = max(dimensions.layers, key=lambda layer: layer.columns**2 + 3 * layer.entries)
        return {"row norms of W0 + BA": 4 * (largest.columns**2 + 3 * largest.entries)}
