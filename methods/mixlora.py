"""MixLoRA: a LoRA whose ranks are a pool of factors, of which each example chooses its own pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bench import TrainMethod, hyper, insert_routed, routed_change

if TYPE_CHECKING:
    from torch import nn

    from bench import Change, Dimensions, Recipe


def pool_size(rank: int, experts: float) -> int:
    """Return E = ceil(experts * rank), the number of rows of A and of columns of B in a pool.

    >>> pool_size(2, 1.5), pool_size(64, 1.5), pool_size(10, 1.1)
    (3, 96, 11)
    """
    return math.ceil(round(experts * rank, 6))


@dataclass(kw_only=True)
class MixLoRA(TrainMethod):
    """W(x) = W0 + scale * sum over k of w_k b_{J_k} a_{I_k}^T, with other rows I and columns J for each example x.

    Each matrix has a pool of E rows a_i [in] and E columns b_j [out]. I are the ``rank`` places with the highest
    scores K_A m [E], and J those with the highest K_B m, in order, where m [in] is the mean of what the matrix reads of
    the example. The k-th of I goes with the k-th of J. Selectors and a_i start uniformly from +-1/sqrt(in), b_j at 0.

    The equations and the start are those of the released code (``VT-NLP/MixLoRA``, commit af5cc3f). These are choices
    of ours:

    ``experts``    E = ceil(experts * rank). The released code takes both numbers as arguments, such as 96 and 64.
    ``condition``  ``input`` chooses J from m alone. ``input_lora_a`` makes J depend on I, as the paper stresses: J has
                   the highest of softmax(K_B m) + sum over k of softmax(K_AB[k] a_{I_k}). It is not the default
                   because K_AB has rank * E * in numbers in each matrix: 25 M at rank 64 in a 7B model.
    ``scores``     true weights each pair by its two scores, and so trains the selectors. w_k is the product of two
                   softmaxes over the chosen, each times ``rank``, so that both have the mean 1 at every rank. False
                   takes w_k = 1, as released; then the selectors have no gradient and stay at their random start.
    ``decode``     ``freeze`` keeps the choice made from the prompt while the model answers. ``token`` chooses again
                   from each token of the answer, as the released code does with a cache.

    Deviations: m leaves out padding, and answers that are being learnt, so that a training chooses as an answer does;
    the released code averages over everything. The released flag for scores acts only on a layer's first product. The
    scale is the recipe's, as for LoRA; the released code's is 2 E / rank, which is 3 for 96 and 64. The connector has
    no pool, as released: it is tuned as the recipe says, with plain LoRA adapters if it has any.

    ``off`` is empty: even with as many experts as ranks, the scores do not pair a_i with b_i, as LoRA does. The change
    is a ``bench.Routed``, which no weight can hold, so whatever needs a change of weights refuses it.
    """

    name: ClassVar[str] = "mixlora"
    display: ClassVar[str] = "MixLoRA"
    paper: ClassVar[str] = "Shen et al., Conditional Mixture of LoRA, Findings of ACL 2024, arXiv:2402.15896"
    merges: ClassVar[bool] = False
    remark: ClassVar[str] = "each example chooses its own factors, so the change is held live and never merged"

    experts: float = hyper(1.5, minimum=1.0, maximum=64.0, search=False)
    condition: str = hyper("input", choices=("input", "input_lora_a"), search=False)
    scores: bool = hyper(True, search=False)
    decode: str = hyper("freeze", choices=("freeze", "token"), search=False)

    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        return insert_routed(
            model,
            rank,
            recipe,
            experts=pool_size(rank, self.experts),
            depends=self.condition == "input_lora_a",
            scores=self.scores,
            freeze=self.decode == "freeze",
        )

    @override
    def change(self, model: nn.Module) -> Change:
        return routed_change(model)

    @override
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        # trained selectors are counted with the adapters
        return {} if self.scores else {"selectors": 4 * self._selectors(dimensions)}

    @override
    def change_bytes(self, dimensions: Dimensions) -> int | None:
        if self.scores:
            return None
        experts = pool_size(dimensions.rank, self.experts)
        pools = sum(experts * (layer.rows + layer.columns) for layer in dimensions.decoder)
        connector = [layer for layer in dimensions.layers if layer.block is None]
        return 4 * (pools + self._selectors(dimensions) + dimensions.factors(connector))

    @override
    def slowdown(self) -> float:
        return 1.4 if self.condition == "input" else 1.9

    def _selectors(self, dimensions: Dimensions) -> int:
        """Return the number of entries of all selectors."""
        experts = pool_size(dimensions.rank, self.experts)
        each = 2 + (dimensions.rank if self.condition == "input_lora_a" else 0)
        return sum(each * experts * layer.columns for layer in dimensions.decoder)
