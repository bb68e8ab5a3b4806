"""LoRASculpt: sparse LoRA factors that avoid the weights which matter to the base model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from typing_extensions import override

from bench import Adapter, Step, hyper, lora_adapters

from .closed_form import with_gradients
from .lora import LoRA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from bench import Dimensions, LayerShape

_EPS = 1e-15
# Entries in one block of rows. A block about fits the cache, and few blocks need few thread joins, which stall if
# the cores are busy.
_ENTRIES = {"cpu": 1 << 20}
_NORM_ENTRIES = 1 << 17  # a float32 sum of more squares loses digits
_ENTRIES_ON_DEVICE = 1 << 24


def weight_norm(weight: Tensor, kind: str) -> float:
    """Return W0's Frobenius norm, or its largest singular value if ``kind`` is ``spectral``.

    The function adds the squares of the blocks in float64, because torch's float32 norm of 4096 x 4096 entries
    is off by 8e-4.
    """
    if kind == "spectral":
        return float(torch.linalg.matrix_norm(weight.float(), ord=2))
    blocks = torch.split(weight.detach(), max(1, _NORM_ENTRIES // weight.shape[1]))
    squares = [torch.linalg.vector_norm(block, dtype=_working(weight)).double() ** 2 for block in blocks]
    return math.sqrt(float(torch.stack(squares).sum()))


def importance(weight: Tensor, norm: float, omega: float, out: Tensor) -> Tensor:
    """Write M = tanh(omega * |1 / log(|W0| / norm + 1e-15)|) into ``out`` and return it (Eq. 6-7).

    The logarithm is natural, and the entries of M are in (0, 1]. The function computes the logarithm in place,
    in the precision of ``out``, as log(|W0| + 1e-15 norm) - log(norm). If one entry is the whole norm, its
    logarithm is 0 and its M is 1. If all weights are zero, the norm counts as 1.
    """
    norm = norm or 1.0
    out.copy_(weight).abs_()
    return out.add_(_EPS * norm).log_().sub_(math.log(norm)).reciprocal_().abs_().mul_(omega).tanh_()


def penalised_product(
    weight: Tensor, b: Tensor, a: Tensor, norm: float, omega: float, *, entrywise: bool = False
) -> Tensor:
    """Return |M * (B A)|_F (Eq. 8) or its entrywise L1 norm (Eq. 10), differentiable in A and B.

    One pass over blocks of rows computes the value and the gradients in closed form. With X = M * (B A) and
    G = M * X / |X|_F (for L1, G = M * sign(X)), dB = G A^T and dA = B^T G. The function creates no tensor of
    size [out, in], and saves only as much state as A and B hold. If X is all zero, G is zero, so B = 0 gives
    no NaN.
    """
    value, db, da = _value_and_gradients(weight.detach(), b.detach(), a.detach(), (norm, omega), entrywise)
    return with_gradients(value, (b, db), (a, da))


def _value_and_gradients(
    weight: Tensor, b: Tensor, a: Tensor, mask: tuple[float, float], entrywise: bool
) -> tuple[Tensor, Tensor, Tensor]:
    a, b = a.to(_working(a)), b.to(_working(b))
    rows = _rows(weight)
    buffers = a.new_empty(2, min(rows, len(b)), a.shape[1])
    db, da = torch.empty_like(b), torch.zeros_like(a)
    total = torch.zeros((), dtype=torch.float64, device=a.device)
    for start in range(0, len(b), rows):
        part = slice(start, start + rows)
        m, x = buffers[:, : len(b[part])]
        importance(weight[part], *mask, out=m)
        torch.mm(b[part], a, out=x).mul_(m)
        if entrywise:
            total += x.abs().sum()
            x.sign_()
        else:
            total += torch.dot(x.view(-1), x.view(-1))
        x.mul_(m)
        torch.mm(x, a.T, out=db[part])
        da.addmm_(b[part].T, x)
    if entrywise:
        return total.to(a.dtype), db, da
    length = total.sqrt()
    factor = torch.where(length > 0, 1 / length, 0.0)
    return length.to(a.dtype), db.mul_(factor), da.mul_(factor)


def top_k(weight: Tensor, density: float) -> Tensor:
    """Return the boolean mask of the floor(density * n) largest of n magnitudes, at least one (Eq. 3).

    The function ranks the whole tensor, not each row. Among equal magnitudes, it keeps the first.

    >>> top_k(torch.tensor([[0.9, -0.8], [0.1, 0.2]]), 0.5).tolist()
    [[True, True], [False, False]]
    """
    flat = weight.detach().abs().flatten()
    count = max(1, int(density * flat.numel()))
    kept = flat.argsort(descending=True, stable=True)[:count]
    return torch.zeros_like(flat, dtype=torch.bool).index_fill_(0, kept, True).view(weight.shape)


@dataclass(kw_only=True)
class LoRASculpt(LoRA):
    """L = L_task + alpha * R(|M * (B A)|_F) (Eq. 9); A and B are pruned once to ``density`` and stay so.

    Pruning starts after the share ``warmup`` of the updates. Each A and each B then keeps its largest entries, and
    every later update projects it onto the same mask. (The paper's "sparsity s" is the kept share, here
    ``density``.)

    ``cmr_reduction``  R: ``mean`` over the matrices, as in the released code, or ``sum``, as in Algorithm 1.
    ``cmr_modules``    the decoder layers that the penalty reads: ``qkv``, as in the paper, or ``all``.
    ``mask_norm``      the norm that divides W0: ``fro``, as in the released code, or ``spectral``. It is computed
                       once per layer.
    ``mask_grads``     true also clears the gradients of the pruned entries. It changes results only with recipe.clip,
                       because AdamW treats every entry by itself and the pruned ones return to 0 anyway.

    The penalty is inert at its default, alpha 1e-3 with the mean, which is the released code's: on ``micro`` its
    gradient is 2e-5 to 2e-4 times the task's, and 4,000 answers equal those at alpha 0. The default row is the pruning
    alone. The penalty acts from about alpha 1 with the mean on (0.1 with the sum); the search range reaches 10. At 7B,
    an entry of B gets 1.9e-9 from the mean of 96 matrices at 1e-3, so it is most likely inert in the released code too.

    ``warmup`` is a share of the updates, and does not carry over to short runs: the mask keeps the largest entries
    of A, and after few updates these are those of A's random start. The paper's 100 updates sum the learning rates to
    1.57 times A's starting root mean square (rms); the same share of 150 updates of ``micro`` to 0.1 times.

    If the recipe's connector carries LoRA, its adapters add beta * sum |M * (B A)|_1 (Eq. 10-11) and are never
    pruned.

    Deviations from the released code (commit 08d3d28): the released code projects before the forward pass, and
    projects only the float32 master copy, so its forward pass and its export are never exactly sparse. We project
    right after every update. The released code warms up for 100 updates; we warm up for the same share of any
    run, at least 1 update. Its M is bfloat16, and ours is float32. It does not contain Eq. 10. We add the penalty once
    per update, not once per micro-batch.
    """

    name: ClassVar[str] = "lorasculpt"
    display: ClassVar[str] = "LoRASculpt"
    paper: ClassVar[str] = "Liang et al., LoRASculpt, CVPR 2025, arXiv:2503.16843"
    off: ClassVar[dict[str, float]] = {"alpha": 0.0, "beta": 0.0, "density": 1.0}
    aliases: ClassVar[Mapping[str, str]] = {"s": "density"}
    dropped: ClassVar[Mapping[str, str]] = {"zero_moments": "it never changed a result"}
    remark: ClassVar[str] = (
        "at its defaults (alpha 0.001, mean) the penalty is too weak to change an answer, so such a row shows the "
        "pruning alone; the penalty acts from an alpha of about 1"
    )

    alpha: float = hyper(1e-3, low=1e-3, high=10.0, log=True, minimum=0.0)
    beta: float = hyper(1e-5, low=1e-6, high=1e-2, log=True, minimum=0.0, connector="lora")
    omega: float = hyper(1.0, low=0.25, high=4.0, log=True, minimum=0.0)
    density: float = hyper(0.1, low=0.02, high=0.5, log=True, minimum=1e-6, maximum=1.0)
    warmup: float = hyper(0.0533, low=0.02, high=0.6, log=True, minimum=0.0, maximum=1.0)
    cmr_reduction: str = hyper("mean", choices=("mean", "sum"), search=False)
    cmr_modules: str = hyper("qkv", choices=("qkv", "all"), search=False)
    mask_norm: str = hyper("fro", choices=("fro", "spectral"), search=False)
    mask_grads: bool = hyper(False)

    masks_: dict[str, Tensor] = field(init=False, default_factory=dict)
    norms_: dict[str, float] = field(init=False, default_factory=dict)

    @override
    def penalty(self, step: Step) -> Tensor | None:
        terms = []
        adapters = list(lora_adapters(step.model))
        decoder = [adapter for adapter in adapters if self._is_regularised(adapter)]
        connector = [adapter for adapter in adapters if adapter.in_connector]
        if self.alpha > 0 and decoder:
            values = torch.stack([self._cmr(adapter) for adapter in decoder])
            terms.append(self.alpha * (values.mean() if self.cmr_reduction == "mean" else values.sum()))
        if self.beta > 0 and connector:
            terms.append(self.beta * torch.stack([self._cmr(adapter) for adapter in connector]).sum())
        return torch.stack(terms).sum() if terms else None

    @override
    def on_gradients(self, step: Step) -> None:
        if self.mask_grads:
            for key, factor in _decoder_factors(step):
                if key in self.masks_ and factor.grad is not None:
                    factor.grad.masked_fill_(~self.masks_[key].to(factor.device), 0.0)

    @override
    def on_update(self, step: Step) -> None:
        if self.density == 1 or step.index + 1 < max(1, round(self.warmup * step.total)):
            return
        for key, factor in _decoder_factors(step):
            if key not in self.masks_:
                self.masks_[key] = top_k(factor, self.density)
            factor.masked_fill_(~self.masks_[key].to(factor.device), 0.0)

    @override
    def roles(self) -> Sequence[str]:
        return ("q_proj", "k_proj", "v_proj") if self.alpha > 0 and self.cmr_modules == "qkv" else ()

    @override
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        held: dict[str, int] = {}
        if self.density < 1:
            held["masks"] = dimensions.factors(dimensions.decoder)
        chosen: Sequence[LayerShape] = [
            layer
            for layer in dimensions.layers
            if (self.beta > 0 if layer.block is None else self.alpha > 0)
            and (layer.block is None or self.cmr_modules == "all" or layer.role in {"q_proj", "k_proj", "v_proj"})
        ]
        if chosen:
            rows = [min(layer.rows, max(1, _ENTRIES_ON_DEVICE // layer.columns)) * layer.columns for layer in chosen]
            held["CMR blocks of M and BA"] = 2 * 4 * max(rows)
            held["CMR gradients"] = 4 * dimensions.factors(chosen)
        if chosen and self.mask_norm == "spectral":
            held["W0 for its singular value"] = 4 * max(layer.entries for layer in chosen)
        return held

    def _is_regularised(self, adapter: Adapter) -> bool:
        if adapter.in_connector:
            return False
        return self.cmr_modules == "all" or adapter.role in {"q_proj", "k_proj", "v_proj"}

    def _cmr(self, adapter: Adapter) -> Tensor:
        if adapter.name not in self.norms_:
            self.norms_[adapter.name] = weight_norm(adapter.weight, self.mask_norm)
        norm = self.norms_[adapter.name]
        return penalised_product(adapter.weight, adapter.b, adapter.a, norm, self.omega, entrywise=adapter.in_connector)


def _decoder_factors(step: Step) -> Iterator[tuple[str, Tensor]]:
    for adapter in lora_adapters(step.model):
        if not adapter.in_connector:
            yield f"{adapter.name}.a", adapter.a
            yield f"{adapter.name}.b", adapter.b


def _working(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _rows(weight: Tensor) -> int:
    return max(1, _ENTRIES.get(weight.device.type, _ENTRIES_ON_DEVICE) // weight.shape[1])
