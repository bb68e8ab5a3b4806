"""MDGD-GM: MDGD's mask, which trains only the tensors whose gradients point where the base model's do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from bench import hyper

from .visual_drift import VisualDrift, trained, write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench import Dimensions, Step

_DECIMALS = 4  # of a cosine; float32 sums in another order differ by 1e-7


def kept(cosines: Sequence[float], sizes: Sequence[int], share: float) -> set[int]:
    """Return the places of the largest cosines that together reach ``share`` of all entries, at least one place.

    Of equal cosines, the first is taken.

    >>> sorted(kept([0.1, 0.9, 0.5], [10, 10, 20], 0.5))
    [1, 2]
    """
    chosen: set[int] = set()
    count = 0
    for place in sorted(range(len(cosines)), key=lambda place: -cosines[place]):
        if chosen and count >= share * sum(sizes):
            break
        chosen.add(place)
        count += sizes[place]
    return chosen


@dataclass(kw_only=True)
class MDGDGM(VisualDrift):
    """g = g_theta in the tensors where cos(g_theta, g_phi) is largest, and 0 in the others.

    g_theta and g_phi are those of ``mdgd``; only their use differs. At each update the tensors with the largest cosines
    are kept until they hold the share ``alpha`` of all trained entries. This is the parameter-efficient form of MDGD.
    Without dropout every cosine is 1 or 0 at the first update, because theta is phi. Cosines are compared with four
    decimals, so that the first tensors are kept then, and not those that rounding prefers.

    Certain are the cosine and the share. These are choices of ours, because we found neither text nor code:

    ``alpha``        the kept share. Figure 5 of the paper varies it; its value is not known.
    ``hold``         ``updates`` also keeps the masked tensors' weights as they are, because AdamW moves an entry
                     without a gradient by its momentum. ``gradients`` only sets the gradient to 0.
    ``granularity``  what is kept or masked as one: a ``tensor``, or A and B of a ``layer``.

    ``lv``, ``lv_layer`` and ``strength`` are those of ``mdgd``.
    """

    name: ClassVar[str] = "mdgd_gm"
    display: ClassVar[str] = "MDGD-GM"
    paper: ClassVar[str] = "Wu et al., MDGD, Findings of EMNLP 2025, arXiv:2502.11740"
    off: ClassVar[dict[str, float]] = {"strength": 0.0, "alpha": 1.0}

    alpha: float = hyper(0.5, low=0.1, high=0.9, minimum=1e-6, maximum=1.0)
    hold: str = hyper("updates", choices=("updates", "gradients"), search=False)
    granularity: str = hyper("tensor", choices=("tensor", "layer"), search=False)

    held_: dict[str, Tensor] = field(init=False, default_factory=dict)

    @property
    @override
    def _reads_base(self) -> bool:
        return self.alpha < 1

    @override
    def on_gradients(self, step: Step) -> None:
        if not self._acts:
            return
        parameters = trained(step.model)
        groups, edited, cosines = [], [], []
        for names, tuned, base in self._directions(step, self.granularity):
            groups.append(names)
            edited.append(tuned)
            cosines.append(round(float(torch.cosine_similarity(tuned, base, dim=0)), _DECIMALS))
        places = kept(cosines, [len(vector) for vector in edited], self.alpha)
        for place, (names, vector) in enumerate(zip(groups, edited, strict=True)):
            write(parameters, names, vector if place in places else torch.zeros_like(vector))
            if place not in places and self.hold == "updates":
                self.held_ |= {name: parameters[name].detach().clone() for name in names}

    @override
    def on_update(self, step: Step) -> None:
        for name, parameter in trained(step.model).items():
            if name in self.held_:
                parameter.copy_(self.held_[name])
        self.held_ = {}

    @override
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        entries = dimensions.factors(dimensions.layers) + dimensions.connector
        held = {"held weights": math.ceil(4 * (1 - self.alpha) * entries)} if self.hold == "updates" else {}
        return {**super().memory(dimensions), **held} if self._reads_base else super().memory(dimensions)
