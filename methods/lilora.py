"""LiLoRA: A and a basis of B that all tasks of a sequence share, and a small branch of B for each task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench import Change, PluginError, Recipe, Start, Step, compute_factors, hyper, lora_adapters

from .lora import LoRA

if TYPE_CHECKING:
    from bench import Dimensions, LayerShape

_FFN = ("gate_proj", "up_proj", "down_proj")
_PARTS = ("b", "a", "gate")  # of a branch


def blended(basis: Tensor, b: Tensor, a: Tensor, gate: Tensor) -> Tensor:
    """Return w basis + (1 - w) b a with w = sigmoid(gate).

    >>> blended(torch.tensor([[2.0]]), torch.tensor([[3.0]]), torch.tensor([[2.0]]), torch.tensor(0.0)).item()
    4.0
    """
    share = gate.sigmoid()
    return share * basis + (1 - share) * (b @ a)


def likeness(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
    """Return the cosine between two products b a of the same shape, without forming them; 0 if one of them is 0."""
    pairs = ((one, one), (other, other), (one, other))
    square, other_square, inner = (((b.T @ d) * (a @ c.T)).sum() for (b, a), (d, c) in pairs)
    known = (square > 0) & (other_square > 0)
    lengths = [torch.where(known, value, 1.0).sqrt() for value in (square, other_square)]  # sqrt(0) has no gradient
    return torch.where(known, inner / (lengths[0] * lengths[1]), 0.0)


class Branch(nn.Module):
    """The part of B that is a task's own: b [out, sub_rank] starts at 0, a [sub_rank, rank] and the gate are drawn."""

    def __init__(self, basis: Tensor, sub_rank: int) -> None:
        super().__init__()
        out, rank = basis.shape
        self.b = nn.Parameter(basis.new_zeros(out, sub_rank))
        self.a = nn.Parameter(nn.Linear(rank, sub_rank, bias=False).weight.detach().to(basis.device))
        self.gate = nn.Parameter(torch.randn(()).to(basis.device))

    def forward(self, basis: Tensor) -> Tensor:
        """Return B as it takes effect."""
        return blended(basis, self.b, self.a, self.gate)


@dataclass(slots=True)
class _Shared:
    """A layer's B0 and branch, the branches of the earlier tasks, and B0 and the last branch before this stage."""

    basis: nn.Parameter
    branch: Branch
    earlier: list[tuple[Tensor, ...]] = field(default_factory=list)
    origin: tuple[Tensor, Tensor, Tensor] | None = None


@dataclass(kw_only=True)
class LiLoRA(LoRA):
    """Delta W_t = scale * B_t A with B_t = w_t B0 + (1 - w_t) b_t a_t and w_t = sigmoid(f_t), for each task t.

    A and B0 are shared by all tasks. A branch (b_t [out, q], a_t [q, rank], f_t) belongs to a task: a stage trains A,
    B0 and a new branch, and keeps the older ones. From stage 2 on, L = L_task + lam * R(L_reg) over the matrices, with

        L_reg = (1 - cos(b_t a_t, b_{t-1} a_{t-1})) * |B0 - B0'|_F^2,

    where B0' is B0 before the stage. A task is answered with its own branch and the newest A and B0, so its user must
    know the task; other questions get the newest branch. A connector's adapters are as the decoder's, and a connector
    that is tuned in full is shared by all tasks.

    B_t and the start are those of the released code (``chanceche/LiLoRA``, commit 5f24f19): f_t from N(0, 1), A and a_t
    uniformly from +-1/sqrt(in) and +-1/sqrt(rank), B0 and b_t at 0. We know L_reg from two summaries of the paper that
    agree. The released code lacks it, and freezes B0 from stage 2 on instead.

    ``lam``             the weight of L_reg, which we do not know from the paper. It acts from stage 2 on.
    ``reduction``       R: ``mean`` or ``sum`` over the matrices; a choice of ours.
    ``cosine``          ``train`` lets gradients flow through the cosine, ``frozen`` stops them; a choice of ours. If a
                        branch is 0, as at the start of a stage, its cosine is 0.
    ``basis``           ``penalty`` is the paper's. ``frozen`` trains B0 in stage 1 only and has no L_reg, as released.
    ``share_a``         ``train`` trains A in every stage, as released; ``frozen`` in stage 1 only.
    ``sub_rank_share``  q = ceil(sub_rank_share * rank). The released scripts have q = 64 at rank 128.
    ``modules``         ``all`` decoder linears that the recipe adapts, as for LoRA, or ``ffn``, as released: the others
                        get no adapter.

    ``off`` is empty, because no setting opens a gate: w_t is below 1, and its f_t is trained. With w_t = 1, f_t frozen
    and lam 0, the method is LoRA that continues its factors.
    """

    name: ClassVar[str] = "lilora"
    display: ClassVar[str] = "LiLoRA"
    paper: ClassVar[str] = "LoRA in LoRA (LiLoRA), AAAI 2026, arXiv:2508.06202"
    made_for: ClassVar[Literal["target", "sequence", "joint"]] = "sequence"
    remark: ClassVar[str] = "made for a sequence of tasks; with one target, nothing in it acts against forgetting"

    lam: float = hyper(1.0, low=1e-2, high=1e2, log=True, minimum=0.0)
    sub_rank_share: float = hyper(0.5, minimum=1e-6, maximum=1.0, search=False)
    basis: str = hyper("penalty", choices=("penalty", "frozen"), search=False)
    share_a: str = hyper("train", choices=("train", "frozen"), search=False)
    modules: str = hyper("all", choices=("all", "ffn"), search=False)
    reduction: str = hyper("mean", choices=("mean", "sum"), search=False)
    cosine: str = hyper("train", choices=("train", "frozen"), search=False)

    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        recipe = replace(recipe, adapt="+".join(_FFN)) if self.modules == "ffn" else recipe
        wrapped = super().adapt(model, rank, recipe)
        self._tasks: tuple[str, ...] = ()
        self._layers: dict[str, _Shared] = {}
        for adapter in lora_adapters(wrapped):
            assert isinstance(adapter.b, nn.Parameter)
            branch = Branch(adapter.b, self._sub_rank(rank))
            self._layers[adapter.name] = _Shared(adapter.b, branch)
            compute_factors(wrapped, adapter, b=branch)
        return wrapped

    @override
    def start(self, model: nn.Module, start: Start) -> None:
        super().start(model, start)  # A and a tuned connector; what it writes to B, which is computed, has no effect
        self._tasks = start.tasks
        if start.stage == 1:
            return
        for name, layer in self._layers.items():
            if f"{name}/b0" not in start.kept:
                raise PluginError(f"The previous stage kept no B0 of {name}: lilora continues only its own stages.")
            layer.basis.copy_(start.kept[f"{name}/b0"])
            layer.earlier = [tuple(start.kept[f"{name}/{n}/{part}"] for part in _PARTS) for n in range(start.stage - 1)]
            if self.basis == "penalty" and self.lam > 0:
                b, a, _ = (part.to(layer.basis.device) for part in layer.earlier[-1])
                layer.origin = (layer.basis.detach().clone(), b, a)
            layer.basis.requires_grad_(self.basis == "penalty")
        for adapter in lora_adapters(model):
            adapter.a.requires_grad_(self.share_a == "train")

    @override
    def penalty(self, step: Step) -> Tensor | None:
        terms = [self._drift(layer, *layer.origin) for layer in self._layers.values() if layer.origin is not None]
        if not terms:
            return None
        values = torch.stack(terms)
        return self.lam * (values.mean() if self.reduction == "mean" else values.sum())

    @override
    def keep(self, model: nn.Module) -> Mapping[str, Tensor]:
        kept: dict[str, Tensor] = {}
        for name, layer in self._layers.items():
            kept[f"{name}/b0"] = layer.basis.detach()  # A is in the change
            for number, branch in enumerate([*layer.earlier, (layer.branch.b, layer.branch.a, layer.branch.gate)]):
                kept |= {f"{name}/{number}/{part}": value.detach() for part, value in zip(_PARTS, branch, strict=True)}
        return kept

    @override
    def bank(self, model: nn.Module) -> Mapping[str, Change]:
        newest, found, layers = self.change(model), dict[str, Change](), self._layers.items()
        deltas: dict[str, Any] = {name: newest[name] for name in self._layers}
        for number, task in enumerate(self._tasks[:-1]):
            own = {name: blended(layer.basis.detach().cpu(), *layer.earlier[number]) for name, layer in layers}
            found[task] = newest.replace({name: replace(delta, b=own[name]) for name, delta in deltas.items()})
        return found

    @override
    def roles(self) -> Sequence[str]:
        return _FFN if self.modules == "ffn" else ()

    @override
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        if self.lam == 0 or self.basis == "frozen":
            return {}
        rank, rows = dimensions.rank, [layer.rows for layer in self._adapted(dimensions)]
        sub_rank = self._sub_rank(rank)
        entries = sum(out * rank + sub_rank * (out + rank) for out in rows)
        return {"before the stage": 4 * entries, "distance of B0": 4 * rank * sum(rows)}

    @override
    def change_bytes(self, dimensions: Dimensions) -> int:
        return 4 * dimensions.factors(self._adapted(dimensions))

    @override
    def left_bytes(self, dimensions: Dimensions, stage: int) -> int:
        rank, sub_rank = dimensions.rank, self._sub_rank(dimensions.rank)
        rows = [layer.rows for layer in self._adapted(dimensions)]
        kept = sum(out * rank + stage * (sub_rank * (out + rank) + 1) for out in rows)
        return 4 * kept + (stage - 1) * (self.change_bytes(dimensions) + 4 * dimensions.connector)

    def _sub_rank(self, rank: int) -> int:
        return math.ceil(round(self.sub_rank_share * rank, 6))

    def _adapted(self, dimensions: Dimensions) -> list[LayerShape]:
        """Return the layers that get an adapter."""
        return [item for item in dimensions.layers if self.modules == "all" or item.block is None or item.role in _FFN]

    def _drift(self, layer: _Shared, basis: Tensor, b: Tensor, a: Tensor) -> Tensor:
        """Return L_reg of a layer, from B0 and the last branch before the stage."""
        alike = likeness((layer.branch.b, layer.branch.a), (b, a))
        alike = alike.detach() if self.cosine == "frozen" else alike
        return (1 - alike) * (layer.basis - basis).square().sum()
