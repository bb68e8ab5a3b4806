"""DoRA: LoRA on the direction of each weight row; the row's length is trained separately."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bench import hyper, insert_lora

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

    ``off`` is empty because no setting turns a trained magnitude into plain LoRA. The update is that of peft's
    ``use_dora``, but m starts in float32: peft rounds it to the precision of the base, so that W is not W0 at the
    start. The LoRASculpt paper gives no settings for DoRA, so DoRA uses LoRA's settings.

    ``dropout``  what reads the input d(x) that has dropped out, with g = m / |V|. ``peft`` is what peft computes,
                 W0 x + (g - 1) W0 d(x) + g scale B A d(x), which takes a second base product. ``low_rank`` is a
                 deviation of ours: A alone reads it, as in LoRA, so that g W0 x + g scale B A d(x) takes one base
                 product. Without dropout, both are the same.
    """

    name: ClassVar[str] = "dora"
    display: ClassVar[str] = "DoRA"
    paper: ClassVar[str] = "Liu et al., DoRA, ICML 2024, arXiv:2402.09353"

    dropout: str = hyper("peft", choices=("peft", "low_rank"), search=False)

    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        return insert_lora(model, rank, recipe, dora=True, drop_base=self.dropout == "peft")

    @override
    def slowdown(self) -> float:
        # Measured with dropout 0.05 (docs/performance.md): 1.6 to 2.0 on layers of 4096 x 4096 and 11008 x 4096, and
        # 1.5 on a whole small model; with low_rank 0.9 to 1.1. Without dropout, which is not known here, 1.0.
        return 1.9 if self.dropout == "peft" else 1.1

    @override
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        # |W0| and |V| of every layer stay; W0 A^T, B (A A^T) and 1,024 rows of W0 are there while |V| is computed
        kept = 2 * sum(layer.rows for layer in dimensions.layers)
        passing = (
            2 * layer.rows * dimensions.rank + min(layer.rows, 1024) * layer.columns for layer in dimensions.layers
        )
        return {"row norms of W0 + BA": 4 * (kept + max(passing))}
