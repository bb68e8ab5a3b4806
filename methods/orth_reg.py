"""Orth-Reg: a LoRA update that stays orthogonal to the pretrained weights (PEGO's preserve term)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from typing_extensions import override

from bench import Adapter, Step, hyper, lora_adapters

from .closed_form import with_gradients
from .lora import LoRA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from bench import Dimensions

_ENTRIES = {"cpu": 1 << 18, "cuda": 1 << 24}  # entries in one chunk of the product C [out, out]


def overlap(weight: Tensor, b: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return sum |W0 (B A)^T| and its gradients for B [out, rank] and A [rank, in], in closed form.

    With V = W0 A^T [out, rank], C = V B^T [out, out] and S = sign(C), dB = S^T V and dA = (S B)^T W0. The
    function computes C in chunks of rows; memory never holds all of B A [out, in] or of C. At B = 0 the gradients
    are 0, because sign(0) = 0.

    >>> weight, a, b = [[1.0, 1.0], [0.0, 1.0]], [[1.0, 2.0]], [[1.0], [0.0]]
    >>> overlap(torch.tensor(weight), torch.tensor(b), torch.tensor(a))[0].item()
    5.0
    """
    a, b = a.detach().float(), b.detach().float()
    value = torch.zeros((), dtype=torch.float64, device=b.device)
    da, db = torch.zeros_like(a), torch.zeros_like(b)
    rows = max(1, _ENTRIES.get(b.device.type, 1 << 20) // len(b))
    for chunk in torch.split(weight.detach(), rows):
        base = chunk.float()
        left = base @ a.T
        product = left @ b.T
        value += product.abs().sum()
        sign = product.sign_()
        db.addmm_(sign.T, left)
        da.addmm_((sign @ b).T, base)
    return value.to(a.dtype), db, da


def overlap_of(adapter: Adapter, *, side: str, mean: bool) -> Tensor:
    """Return one layer's overlap as a scalar that is differentiable in A and B.

    ``side`` is ``out`` for |W0 (B A)^T| [out, out], or ``in`` for |W0^T B A| [in, in].
    """
    weight, b, a = adapter.weight, adapter.b, adapter.a
    if side == "out":
        value, db, da = overlap(weight, b, a)
    else:  # W0^T (B A) = W0^T (A^T B^T)^T is the same product with every matrix transposed
        value, da, db = (part.T if part.dim() else part for part in overlap(weight.T, a.T, b.T))
    value = with_gradients(value, (b, db), (a, da))
    width = weight.shape[0] if side == "out" else weight.shape[1]
    return value / width**2 if mean else value


@dataclass(kw_only=True)
class OrthReg(LoRA):
    """L = L_task + coefficient * R(|W0 (B A)^T|); R runs over all entries in the layers of ``modules``.

    ``reduction``  ``sum`` adds all entries of all layers, as PEGO does. ``mean`` averages the entries of a layer,
                   then the layers, which is too weak to act at the coefficients of the search range.
    ``modules``    ``qv`` takes q_proj and v_proj, as PEGO does. ``all`` takes every adapted layer of the decoder.
    ``side``       ``out`` takes W0 (B A)^T, as PEGO runs it. ``in`` takes W0^T (B A), an alternative that PEGO's
                   code contains.

    The default is the sum because the gradient decides, not the value: Adam sees the gradient, and an entry of B gets
    about 0.46 coefficient * p * sigma_W / sqrt(rank), whatever |B| is (p is the width of the layer, sigma_W the spread
    of W0). At 1e-3 that is of one order at all sizes: 5.3e-3 for PEGO's own scale (width 768, rank 4), 6.75e-3 for 7B
    (4096, rank 32), and 1.0e-3 to 1.6e-3 on ``micro``. There, the sum's gradient is 0.14 to 1.1 times the task's on B
    and 0.17 to 1.9 times on A. The mean's gradient is 1e-6 to 1.5e-5 times the task's on ``micro``, where it changes
    not one of 2,000 answers, and an entry of B on a 7B model gets 6e-12. The ratio is linear in the coefficient: the
    sum's is about 0.3 % at 1e-5 and 3 to 10 times the task's gradient at 1e-2, the ends of the search range.

    Deviations from PEGO (Hu et al., algorithms.py:143-168): we train one LoRA, so PEGO's term between the LoRAs of a
    group ("diversify") has no meaning, as in LoRASculpt, App. F. We compute the value and the gradient in closed form.
    Like PEGO, we leave out alpha / rank. The penalty never includes a connector's adapters.
    """

    name: ClassVar[str] = "orth_reg"
    display: ClassVar[str] = "Orth-Reg"
    paper: ClassVar[str] = "Hu et al., PEGO, ECCV 2024, arXiv:2407.15085"
    off: ClassVar[dict[str, float]] = {"coefficient": 0.0}

    coefficient: float = hyper(1e-3, low=1e-5, high=1e-2, log=True, minimum=0.0)
    reduction: str = hyper("sum", choices=("sum", "mean"), search=False)
    modules: str = hyper("qv", choices=("qv", "all"), search=False)
    side: str = hyper("out", choices=("out", "in"), search=False)

    @override
    def penalty(self, step: Step) -> Tensor | None:
        if self.coefficient == 0:
            return None
        mean = self.reduction == "mean"
        chosen = [adapter for adapter in lora_adapters(step.model) if self._acts_on(adapter)]
        values = torch.stack([overlap_of(adapter, side=self.side, mean=mean) for adapter in chosen])
        return self.coefficient * (values.mean() if mean else values.sum())

    @override
    def roles(self) -> Sequence[str]:
        return ("q_proj", "v_proj") if self.coefficient > 0 and self.modules == "qv" else ()

    @override
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        chosen = [layer for layer in dimensions.decoder if self.modules == "all" or layer.role in {"q_proj", "v_proj"}]
        if self.coefficient == 0 or not chosen:
            return {}
        sides = [(layer.rows, layer.columns) if self.side == "out" else (layer.columns, layer.rows) for layer in chosen]
        chunks = [min(out, max(1, _ENTRIES["cuda"] // out)) * (out + width) for out, width in sides]
        # the gradients of all layers stay in memory until the one backward pass
        return {"chunk of W0 (BA)^T": 4 * max(chunks), "penalty's gradients": 4 * dimensions.factors(chosen)}

    def _acts_on(self, adapter: Adapter) -> bool:
        if adapter.in_connector:
            return False
        return self.modules == "all" or adapter.role in {"q_proj", "v_proj"}
