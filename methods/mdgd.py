"""MDGD: gradients that leave the image tokens' states alone and follow the direction of the base model's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from typing_extensions import override

from bench import hyper

from .visual_drift import VisualDrift, trained, write

if TYPE_CHECKING:
    from torch import Tensor

    from bench import Step


def onto(gradient: Tensor, direction: Tensor) -> Tensor:
    """Return (<gradient, direction> / |direction|^2) direction, or gradient if direction is 0.

    >>> onto(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 0.0])).tolist()
    [3.0, 0.0]
    """
    square = direction.square().sum()
    share = (gradient * direction).sum() / square.clamp(min=torch.finfo(square.dtype).tiny)
    return torch.where(square > 0, share * direction, gradient)


@dataclass(kw_only=True)
class MDGD(VisualDrift):
    """g = proj_{g_phi}(g_theta) with g_x = g_task - strength * proj_{g_v}(g_task), taken at x = theta and at x = phi.

    theta is the tuned model, phi the base model, g_task the gradient of the task's loss, and g_v that of L_v, the drift
    of the image tokens' states of theta from those of phi. Each ``granularity`` is projected by itself. At the first
    update theta is phi and L_v is 0, so g_v is 0 there and g_theta is g_task.

    The paper takes the gradients of full weights, and its authors say that the method does not carry over to LoRA. At
    phi, B acts as 0, so A would get no gradient. Therefore the gradients at phi are pulled back: each adapter
    receives what the gradient G [out, in] of its W0 at phi means for it, dB = scale G A^T and dA = scale B^T G, without
    a matrix of size [out, in]. A connector that is tuned in full has its plain gradient at phi.

    Certain are the two projections, that phi is frozen, and that L_v compares image tokens. We know the paper from its
    abstract, captions and summaries only, and found no code. These are choices of ours:

    ``reference``    ``pullback`` projects onto g_phi. ``none`` stops at g_theta: an ablation that costs half.
    ``lv``           the distance of two states: ``l1``, because a caption calls L_v a loss between representations and
                     shows no square, ``mse`` or ``cosine``.
    ``lv_layer``     the states that L_v compares: those of the ``last`` decoder block, or the ``mean`` of all blocks.
    ``granularity``  what is one vector: a ``tensor``, A and B of a ``layer``, or all parameters (``global``).
    ``strength``     how much of the projection on g_v is taken away.

    Where g_phi is 0, g is g_theta. A negative projection is kept. The projection onto g_phi leaves one free number per
    tensor, so the method learns slowly: ``bench search`` tunes its own ``lr``.
    """

    name: ClassVar[str] = "mdgd"
    display: ClassVar[str] = "MDGD"
    paper: ClassVar[str] = "Wu et al., MDGD, Findings of EMNLP 2025, arXiv:2502.11740"
    off: ClassVar[dict[str, float | str]] = {"strength": 0.0, "reference": "none"}

    reference: str = hyper("pullback", choices=("pullback", "none"), search=False)
    granularity: str = hyper("tensor", choices=("tensor", "layer", "global"), search=False)

    @property
    @override
    def _reads_base(self) -> bool:
        return self.reference == "pullback"

    @override
    def on_gradients(self, step: Step) -> None:
        if not self._acts:
            return
        parameters = trained(step.model)
        for names, tuned, base in self._directions(step, self.granularity):
            write(parameters, names, onto(tuned, base))
