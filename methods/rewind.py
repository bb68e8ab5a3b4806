"""Rewind: scale back what a method has learnt, the simplest way to trade target for source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bench import Change, Dense, EditContext, EditMethod, LowRank, PluginError, Replaced, Sparse, hyper

if TYPE_CHECKING:
    from bench import Delta


@dataclass(kw_only=True)
class Rewind(EditMethod):
    """W = W0 + strength * (W' - W0) for every changed parameter W' [out, in] or [out].

    The changed parameters include the connector's. Strength 0 gives the base model, and strength 1 gives the unscaled
    change. DoRA's change is not linear in its factors, so the method scales its difference from W0 and stores the
    result as a dense change.
    """

    name: ClassVar[str] = "rewind"
    display: ClassVar[str] = "Rewind"
    paper: ClassVar[str] = "Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, arXiv:2109.01903"
    off: ClassVar[dict[str, float]] = {"strength": 1.0}
    trivial: ClassVar[bool] = True

    strength: float = hyper(0.5, low=0.05, high=1.0, minimum=0.0, maximum=1.0)

    @override
    def edit(self, change: Change, context: EditContext) -> Change:
        if self.strength == 1:
            return change
        return change.replace({name: self._scaled(name, delta, context) for name, delta in change.items()})

    def _scaled(self, name: str, delta: Delta, context: EditContext) -> Delta:
        if type(delta) is LowRank:
            return replace(delta, scale=self.strength * delta.scale)
        if isinstance(delta, Sparse):
            return replace(delta, values=self.strength * delta.values)
        if isinstance(delta, Dense):
            return replace(delta, delta=self.strength * delta.delta)
        if name not in context.layers:
            raise PluginError(f"{self.name} needs the original {name}, which is not an adapted layer.")
        base = context.layers[name].weight.detach().float()
        difference = self.strength * (delta.merged(base) - base)
        return Replaced(base + difference) if isinstance(delta, Replaced) else Dense(difference)
