"""SLAO: one LoRA for a sequence of tasks; each stage is merged into the B of the stages before, and A is the latest."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from typing_extensions import override

from bench import LowRank, Replaced, hyper

from .lora import LoRA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from bench import Change, Delta, Dimensions, Start


def share(schedule: str, stage: int) -> float:
    """Return lambda(stage): how far the merged B moves towards the B of a stage.

    >>> [round(share("sqrt", stage), 8) for stage in (1, 2, 3)]
    [1.0, 0.70710678, 0.57735027]
    """
    return {"sqrt": 1 / math.sqrt(stage), "linear": 1 / stage, "constant": 1.0}[schedule]


def toward(merged: Tensor, tuned: Tensor, share: float) -> Tensor:
    """Return merged + share * (tuned - merged).

    >>> toward(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.0]), 0.5).tolist()
    [2.0, 1.0]
    """
    return merged + share * (tuned - merged)


def orthonormal_rows(a: Tensor) -> Tensor:
    """Return Q^T [rank, in] of A^T = Q R with diag R >= 0, computed in float64; rows after the first ``in`` are 0."""
    q, r = torch.linalg.qr(a.double().T)
    rows = torch.zeros_like(a)
    rows[: q.shape[1]] = (q * torch.where(r.diagonal() < 0, -1.0, 1.0)).T
    return rows


@dataclass(kw_only=True)
class SLAO(LoRA):
    """Delta W = scale * B_merge A after every stage of a sequence; stage 1 is plain LoRA, with B_merge = B_1.

    Let A_i and B_i be the factors as stage i has trained them, and lambda(i) = 1 / sqrt(i). From stage 2 on,

        start of stage i:  A = Q^T, where A_{i-1}^T = Q R, so that A A^T = I;  B = B_{i-1}, not B_merge
        end of stage i:    B_merge = B_merge + lambda(i) * (B_i - B_merge);  A_i replaces A

    R is dropped, so a stage starts neither from the base model nor from the stage before, and its first losses may be
    high, by the paper's design. What a stage leaves (``change``) is not the model that it has trained, either.

    We found no official code, and read summaries, a public review and a third party's code, which agree on these
    equations. Not known is the sign of Q; we take diag R >= 0, as the third party does. Its lower bound of 0.1 on
    lambda is not the paper's, and we leave it out. The options are choices of ours except for their defaults
    ``sqrt`` and ``qr``, which are the paper's:

    ``schedule``   lambda(i): ``sqrt``; ``linear`` is 1 / i, so that B_merge is the mean; ``constant`` is 1, so that the
                   latest B stays.
    ``init_a``     the A that a stage starts from: ``qr``, or ``previous``, which is A_{i-1}.
    ``connector``  the paper has no connector. ``average`` merges a fully tuned one as B, and a stage starts from the
                   one that the stage before has trained; ``latest`` continues it and merges nothing. A connector's
                   adapters are merged as all others.

    With ``off``, the stages are LoRA's that continue each other, bit for bit. If lambda(i) < 1, a stage keeps B_i, and
    the connector if it is merged, for the next one; A_i is in the change already.
    """

    name: ClassVar[str] = "slao"
    display: ClassVar[str] = "SLAO"
    paper: ClassVar[str] = "Qiao & Mahdavi, Merge before Forget (SLAO), ICLR 2026, arXiv:2512.23017"
    made_for: ClassVar[Literal["target", "sequence", "joint"]] = "sequence"
    off: ClassVar[dict[str, str]] = {"schedule": "constant", "init_a": "previous"}

    schedule: str = hyper("sqrt", choices=("sqrt", "linear", "constant"), search=False)
    init_a: str = hyper("qr", choices=("qr", "previous"), search=False)
    connector: str = hyper("average", choices=("average", "latest"), search=False)

    @override
    def start(self, model: nn.Module, start: Start) -> None:
        self._before, self._share = start.previous, share(self.schedule, start.stage)
        origin = {name: self._origin(delta, start.kept.get(name)) for name, delta in start.previous.items()}
        super().start(model, replace(start, previous=start.previous.replace(origin)))

    @override
    def change(self, model: nn.Module) -> Change:
        tuned = super().change(model)
        if self._share == 1:
            return tuned
        return tuned.replace({name: self._merged(self._before[name], delta) for name, delta in tuned.items()})

    @override
    def keep(self, model: nn.Module) -> Mapping[str, Tensor]:
        if self._share == 1:  # the change has all that the stage has trained
            return {}
        tuned = super().change(model)
        kept = {name: delta.b for name, delta in tuned.items() if isinstance(delta, LowRank)}
        if self.connector == "average":
            kept |= {name: delta.value for name, delta in tuned.items() if isinstance(delta, Replaced)}
        return kept

    @override
    def left_bytes(self, dimensions: Dimensions, stage: int) -> int:
        if share(self.schedule, stage) == 1:
            return 0
        connector = dimensions.connector if self.connector == "average" else 0
        return 4 * (dimensions.rank * sum(layer.rows for layer in dimensions.layers) + connector)

    def _origin(self, before: Delta, kept: Tensor | None) -> Delta:
        """Return where the training of a weight starts; ``kept`` is what the stage before has trained, if it merged."""
        if type(before) is LowRank:
            a = orthonormal_rows(before.a) if self.init_a == "qr" else before.a
            return replace(before, a=a, b=before.b if kept is None else kept)
        return before if kept is None else Replaced(kept)

    def _merged(self, before: Delta, tuned: Delta) -> Delta:
        if isinstance(before, LowRank) and isinstance(tuned, LowRank):
            return replace(tuned, b=toward(before.b, tuned.b, self._share))
        if isinstance(before, Replaced) and isinstance(tuned, Replaced) and self.connector == "average":
            return Replaced(toward(before.value, tuned.value, self._share))
        return tuned
