"""C-LoRA: a LoRA for a sequence of tasks whose factors are joined by a matrix; each stage adds to the matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench import LowRank, compute_factors, hyper, lora_adapters

from .lora import LoRA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench import Change, Delta, Dimensions, Start, Step

_ZERO = 1e-6  # a singular value that is smaller, relative to the largest one, counts as zero


def old_basis(old: Tensor, b: Tensor, basis: str, energy: float) -> Tensor:
    """Return Q_old [rank, k] of R_old [rank, rank] and B [out, rank], computed in float64.

    ``matrix`` is R_old / |R_old|_F. ``columns`` is an orthonormal basis of the columns of R_old. With an energy below
    1, it is one of R_old V, where V [rank, k] are the first right singular vectors of B R_old whose squared singular
    values sum to this share.
    """
    old, b = old.double(), b.double()
    if basis == "matrix":
        found = old / (old.norm().item() or 1.0)
    elif energy == 1:
        left, sizes, _ = torch.linalg.svd(old)
        found = left[:, sizes > _ZERO * sizes[0]]
    else:
        _, sizes, right = torch.linalg.svd(torch.linalg.qr(b).R @ old, full_matrices=False)
        squares = sizes**2
        held = squares.cumsum(0) - squares < energy * squares.sum()
        found = torch.linalg.qr(old @ right[held].T).Q
    return found.float()


def overlap(basis: Tensor, new: Tensor) -> Tensor:
    """Return |Q_old^T R_new|_F^2.

    >>> overlap(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.5, 1.0], [0.0, 2.0]])).item()
    1.25
    """
    product: Tensor = basis.T @ new
    return product.square().sum()


class Route(nn.Module):
    """B [out, rank] becomes [B R_new, B R_old] [out, 2 rank]; only the first half has gradients, to B and to R_new."""

    old: Tensor
    basis: Tensor

    def __init__(self, old: Tensor, basis: Tensor) -> None:
        super().__init__()
        self.new = nn.Parameter(torch.zeros_like(old))
        self.register_buffer("old", old)
        self.register_buffer("basis", basis)

    def forward(self, b: Tensor) -> Tensor:
        """Return the factor B that takes effect."""
        return torch.cat([b @ self.new, b.detach() @ self.old], dim=1)


class Twice(nn.Module):
    """A [rank, in] becomes [A; A] [2 rank, in]; only the first half has gradients."""

    def forward(self, a: Tensor) -> Tensor:
        """Return the factor A that takes effect."""
        return torch.cat([a, a.detach()])


@dataclass(kw_only=True)
class CLoRA(LoRA):
    """Delta W = scale * B (R_old + R_new) A; L = L_task + lam * mean over the layers of |Q_old^T R_new|_F^2.

    Gradients reach R_new, and A and B through R_new, and none passes through R_old. After a stage R_old becomes
    R_old + R_new, so that each layer stays one LoRA of the same rank. With G the gradient of W,

        dB = scale * G A^T R_new^T    dA = scale * R_new^T B^T G    dR_new = scale * B^T G A^T

    These equations and the penalty are certain, except for its mean over the layers. We found no code, and read a
    summary and a formal proof of the paper's equations. Q_old is a declared basis of the old matrix there; which basis
    it is, is not said. The rest are choices of ours:

    the start    Stage 1 holds R_new = I and R_old = 0, so it is plain LoRA bit for bit, whatever the options. This
                 loses nothing, because B R_new is some B, too. So R_old = I in stage 2. A later stage starts from
                 R_new = 0: R_new moves first, and A and B follow.
    ``basis``    Q_old: ``columns`` or ``matrix``, as ``old_basis`` says.
    ``energy``   with ``columns``, the share of the energy of B R_old that Q_old protects. With 1 it protects all
                 columns of R_old, and those of R_old = I are the whole space: the penalty then pulls on all of R_new.
    ``lam``      the weight of the penalty.
    ``factors``  whether A and B are trained after stage 1: ``train`` or ``frozen``.

    ``off`` is empty because from stage 2 on, no setting is LoRA: R_new starts at 0 there. A stopped gradient does not
    freeze a product: B R_old A drifts with A and B, although R_old stands still. A tuned connector is continued.
    """

    name: ClassVar[str] = "c_lora"
    display: ClassVar[str] = "C-LoRA"
    paper: ClassVar[str] = "Zhang et al., C-LoRA: Continual Low-Rank Adaptation, 2025, arXiv:2502.17920"
    made_for: ClassVar[Literal["target", "sequence", "joint"]] = "sequence"

    basis: str = hyper("columns", choices=("columns", "matrix"), search=False)
    energy: float = hyper(0.9, minimum=0.0, maximum=1.0, search=False)
    lam: float = hyper(0.1, minimum=0.0, search=False)
    factors: str = hyper("train", choices=("train", "frozen"), search=False)

    @override
    def start(self, model: nn.Module, start: Start) -> None:
        self._routes: dict[str, tuple[Tensor, Route]] = {}  # by layer, with its B
        if start.stage == 1:
            return
        origin = {name: _origin(delta, start.kept.get(f"{name}.b")) for name, delta in start.previous.items()}
        super().start(model, replace(start, previous=start.previous.replace(origin)))
        for adapter in list(lora_adapters(model)):
            old = start.kept.get(f"{adapter.name}.r", torch.eye(len(adapter.a)))
            route = Route(old, old_basis(old, adapter.b.cpu(), self.basis, self.energy)).to(adapter.b.device)
            for factor in (adapter.a, adapter.b):
                factor.requires_grad_(self.factors == "train")
            self._routes[adapter.name] = adapter.b, route
            compute_factors(model, adapter, a=Twice(), b=route)

    @override
    def penalty(self, step: Step) -> Tensor | None:
        if self.lam == 0 or not self._routes:
            return None
        return self.lam * torch.stack([overlap(route.basis, route.new) for _, route in self._routes.values()]).mean()

    @override
    def change(self, model: nn.Module) -> Change:
        change = super().change(model)
        return change.replace({name: _joined(change[name]) for name in self._routes})

    @override
    def keep(self, model: nn.Module) -> Mapping[str, Tensor]:
        kept: dict[str, Tensor] = {}
        for name, (b, route) in self._routes.items():
            kept |= {f"{name}.b": b, f"{name}.r": route.old + route.new}
        return kept

    @override
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        # from stage 2 on: R_new with its gradient and AdamW's two states, R_old and Q_old, and factors of rank 2r
        matrices = 6 * len(dimensions.layers) * dimensions.rank**2
        return {"routing matrices": 4 * matrices, "computed factors": 4 * 2 * dimensions.factors(dimensions.layers)}

    @override
    def left_bytes(self, dimensions: Dimensions, stage: int) -> int:
        return 4 * dimensions.rank * sum(layer.rows + dimensions.rank for layer in dimensions.layers if stage > 1)


def _origin(before: Delta, b: Tensor | None) -> Delta:
    """Return a delta with the B that the stage before has trained; after stage 1 it has this B already."""
    return replace(before, b=b) if type(before) is LowRank and b is not None else before


def _joined(delta: Delta) -> Delta:
    """Return scale * [B R_new, B R_old] [A; A] as one product of half the rank."""
    assert isinstance(delta, LowRank)
    (new, old), (a, _) = delta.b.chunk(2, dim=1), delta.a.chunk(2)
    return replace(delta, b=new + old, a=a.clone())
