"""DARE: drop random entries of what LoRA has learnt, and scale up the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from typing_extensions import override

from bench import Change, EditContext, EditMethod, LowRank, PluginError, Replaced, Sparse, hyper

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from bench import Delta, Dimensions


def keep_mask(like: Tensor, drop_rate: float, generator: Generator) -> Tensor:
    """Return a random mask that keeps each entry independently with probability 1 - drop_rate."""
    draws = torch.rand(like.shape, generator=generator, device=generator.device)
    return (draws >= drop_rate).to(like.device)


def dropped(delta: Tensor, keep: Tensor, rate: float) -> Tensor:
    """Return keep * delta / (1 - rate), whose expectation is ``delta``; ``rate`` 0 skips rescaling.

    >>> dropped(torch.tensor([2.0, 4.0]), torch.tensor([True, False]), 0.5).tolist()
    [4.0, 0.0]
    """
    return torch.where(keep, delta / (1 - rate), 0.0)


@dataclass(kw_only=True)
class DARE(EditMethod):
    """delta' = m * delta / (1 - drop_rate) with m ~ Bernoulli(1 - drop_rate) for each entry.

    ``target``            ``factors`` drops entries of A and of B, independently; the result stays a LoRA.
                          ``delta`` drops entries of scale * B A; the result is a sparse change of W0.
    ``rescale``           false leaves out the division. At drop_rate 1 every entry is dropped, and nothing is
                          rescaled.
    ``include_connector`` true also edits a connector that was tuned in full. Such a connector has no LoRA
                          weights, so by default DARE does not change it.

    Deviations: the LoRASculpt paper gives no rate and says "parameters from the fine-tuned LoRA weights"
    (App. F(e)). Therefore the defaults are ``factors`` and 0.1, the rate of the authors' command line. The rate
    0.9 in their README is for full deltas; on factors it would keep 1 % of each rank-one term and multiply that
    1 % by 100. Rescaling is on, as in the paper; the authors' command line needs a flag for it. This file leaves
    out their magnitude variant.
    """

    name: ClassVar[str] = "dare"
    display: ClassVar[str] = "DARE"
    paper: ClassVar[str] = "Yu et al., Language Models are Super Mario, ICML 2024, arXiv:2311.03099"
    off: ClassVar[dict[str, float]] = {"drop_rate": 0.0}

    drop_rate: float = hyper(0.1, low=0.05, high=0.9, minimum=0.0, maximum=1.0)
    target: str = hyper("factors", choices=("factors", "delta"), search=False)
    rescale: bool = hyper(True)
    include_connector: bool = hyper(False)

    @override
    def edit(self, change: Change, context: EditContext) -> Change:
        if self.drop_rate == 0:
            return change
        # sorted: the draws must not depend on the order in which a change was stored
        edited = {name: self._edited(name, change[name], context) for name in sorted(change)}
        return change.replace(edited)

    @override
    def change_bytes(self, dimensions: Dimensions) -> int | None:
        if self.target == "factors" or self.drop_rate == 0:
            return None
        kept = round((1 - self.drop_rate) * sum(layer.entries for layer in dimensions.layers))
        return sum(-(-layer.entries // 8) for layer in dimensions.layers) + 4 * kept

    def _edited(self, name: str, delta: Delta, context: EditContext) -> Delta:
        if isinstance(delta, Replaced):
            return self._edited_connector(name, delta, context) if self.include_connector else delta
        if self.target == "factors" and isinstance(delta, LowRank):
            return replace(delta, a=self._drop(delta.a, context)[0], b=self._drop(delta.b, context)[0])
        if type(delta) is LowRank:
            return Sparse.of(*self._drop(delta.product(), context))
        base = context.layers[name].weight.float()
        return Sparse.of(*self._drop(delta.merged(base) - base, context))

    def _edited_connector(self, name: str, delta: Replaced, context: EditContext) -> Delta:
        if name not in context.layers:
            raise PluginError(f"{self.name}.include_connector needs the original {name}; leave it at false.")
        base = context.layers[name].weight.detach().float()
        return Replaced(base + self._drop(delta.merged(base) - base, context)[0])

    def _drop(self, value: Tensor, context: EditContext) -> tuple[Tensor, Tensor]:
        keep = keep_mask(value, self.drop_rate, context.generator)
        rate = self.drop_rate if self.rescale and self.drop_rate < 1 else 0.0
        return dropped(value, keep, rate), keep
