"""DAC: a LoRA as a pool of rank-one experts, of which each example trains some and the model keeps the most chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench import Change, Recipe, Start, Step, hyper, image_positions, lora_adapters

from .lora import LoRA
from .rank_pool import chosen, kept, overlap

if TYPE_CHECKING:
    from bench import Adapter, Dimensions


@dataclass(kw_only=True)
class DAC(LoRA):
    """Delta W = scale * sum of b_i a_i^T over the M ranks i that most examples voted for during the training.

    A router R [rank, in] of each matrix scores the ranks for an example: R x, where x [in] is what the matrix reads of
    the example. The example trains only the K ranks with the highest scores, and votes for them. After the training,
    the M ranks with the most votes stay. ``rank`` is the number of ranks that are trained, so the kept model has M
    ranks, and each example was trained with K.

    In a sequence of tasks, a stage trains a new pool on a base model that has the merged ranks of the earlier stages,
    and AGO keeps new columns of B orthogonal to old ones: L = L_task + coefficient * mean of R(P^T B) over the
    matrices. P [out, m] are the merged columns of all earlier tasks. B [out, M] are the current ones: those of the M
    ranks with the most votes before this update, so at the first update the first M. Stage 1 has no P and no such term.

    ``active``, ``merged``: K = ceil(active * rank), M = ceil(merged * rank). As released, they are 8 and 4 of 12 ranks.
    ``router``  ``random`` leaves R at its random start, as the released code does: the scores only choose, so R has no
                gradient there. ``straight_through`` trains R through the softmax of the scores; a choice of ours.
    ``guide``   a choice of ours, because a decoder has no class token and its first token is the same everywhere:
                ``image_mean`` takes the mean of the matrix's input over the image's tokens, ``prompt_last`` the input
                at the last token of the prompt.
    ``select``  ``sample`` chooses for each example by itself, which does not depend on how an update is cut into
                micro-batches; a choice of ours. ``batch`` chooses the K ranks with the most votes in a micro-batch for
                all its examples, as released.
    ``ago``     R. ``abs_sum`` is the sum of |p^T b| over all pairs of columns, as released, with coefficient 0.1.
                ``mean`` is the mean of p^T b, as the paper writes it: it is linear in b, so it has no minimum.
                ``abs_mean`` is the mean of |p^T b|; a choice of ours.

    Deviations from the released code: scale is the recipe's, not 1 / rank. A connector's adapters are plain LoRA, and
    AGO leaves them out. The votes of the current update count from the next one on. ``coefficient`` is not searched,
    because with one target it does nothing. With ``off`` set, stage 1 equals LoRA, and later stages equal LoRA whose
    earlier stages are merged, not LoRA's own chain.
    """

    name: ClassVar[str] = "dac"
    display: ClassVar[str] = "DAC"
    paper: ClassVar[str] = "Decomposing and Composing (DAC), AAAI 2026, arXiv:2601.22828"
    off: ClassVar[dict[str, float]] = {"active": 1.0, "merged": 1.0, "coefficient": 0.0}
    folds: ClassVar[bool] = True

    active: float = hyper(2 / 3, low=0.25, high=1.0, minimum=1e-6, maximum=1.0)
    merged: float = hyper(1 / 3, low=0.1, high=1.0, minimum=1e-6, maximum=1.0)
    router: str = hyper("random", choices=("random", "straight_through"), search=False)
    guide: str = hyper("image_mean", choices=("image_mean", "prompt_last"), search=False)
    select: str = hyper("sample", choices=("sample", "batch"), search=False)
    coefficient: float = hyper(0.1, minimum=0.0)
    ago: str = hyper("abs_sum", choices=("abs_sum", "mean", "abs_mean"), search=False)

    counts_: dict[str, Tensor] = field(init=False, default_factory=dict)  # votes by layer [rank]
    votes_: dict[str, Tensor] = field(init=False, default_factory=dict)  # of the current update

    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        wrapped = super().adapt(model, rank, recipe)
        self._past: dict[str, Tensor] = {}
        if self.active == 1 and self.merged == 1:
            return wrapped
        self._seen: dict[str, Tensor] = {}
        self._weights: Tensor | None = None
        modules = {id(module.weight): module for module in wrapped.modules() if isinstance(module, nn.Linear)}
        for adapter in _pooled(wrapped):
            router = nn.Linear(adapter.a.shape[1], rank, bias=False).to(adapter.a.device)
            router.requires_grad_(self.router == "straight_through")
            module = modules[id(adapter.a)]
            module.register_module("router", router)
            module.register_forward_hook(self._gate(adapter.name, rank))
            self.counts_.setdefault(adapter.name, torch.zeros(rank, device=adapter.a.device))
        wrapped.register_forward_pre_hook(self._look, with_kwargs=True)
        return wrapped

    @override
    def start(self, model: nn.Module, start: Start) -> None:
        super().start(model, start)
        if self.coefficient > 0 and start.kept:
            self._past = {item.name: start.kept[item.name].to(item.b.device) for item in _pooled(model)}

    @override
    def keep(self, model: nn.Module) -> Mapping[str, Tensor]:
        if self.coefficient == 0:
            return {}
        now = {item.name: self._columns(item) for item in _pooled(model)}
        return {name: torch.cat([self._past.get(name, own[:, :0]), own], dim=1) for name, own in now.items()}

    @override
    def penalty(self, step: Step) -> Tensor | None:
        if not self._past:
            return None
        pairs = [(self._past[item.name], self._columns(item)) for item in _pooled(step.model)]
        return self.coefficient * torch.stack([overlap(past, now, self.ago) for past, now in pairs]).mean()

    @override
    def backward(self, step: Step) -> None:
        seen, self._seen = getattr(self, "_seen", {}), {}
        super().backward(step)
        self._seen = {}  # gradient checkpointing chooses again
        for name, votes in seen.items():
            self.votes_[name] = self.votes_[name] + votes if name in self.votes_ else votes

    @override
    def on_gradients(self, step: Step) -> None:
        votes = [self.votes_.get(name, torch.zeros_like(counts)) for name, counts in self.counts_.items()]
        if votes:
            step.all_reduce(votes)
            self.counts_ = {name: self.counts_[name] + vote for name, vote in zip(self.counts_, votes, strict=True)}
        self.votes_ = {}

    @override
    def change(self, model: nn.Module) -> Change:
        change = super().change(model)
        pools: dict[str, Any] = {name: change[name] for name in self.counts_}
        masks = {name: self._most_voted(name, delta.a.device) for name, delta in pools.items()}
        return change.replace({name: kept(delta, masks[name]) for name, delta in pools.items()})

    @override
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        if self.active == 1 and self.merged == 1:
            return {}
        entries = dimensions.rank * sum(layer.columns for layer in dimensions.decoder)
        # AdamW's two states and the gradient, if the routers are trained
        return {"routers": 4 * entries * (4 if self.router == "straight_through" else 1)}

    @override
    def change_bytes(self, dimensions: Dimensions) -> int | None:
        if self.merged == 1:
            return None
        left = replace(dimensions, rank=math.ceil(self.merged * dimensions.rank))
        connector = [layer for layer in dimensions.layers if layer.block is None]
        return 4 * (left.factors(dimensions.decoder) + dimensions.factors(connector))

    @override
    def left_bytes(self, dimensions: Dimensions, stage: int) -> int:
        columns = math.ceil(self.merged * dimensions.rank) if self.coefficient > 0 else 0
        return 4 * stage * columns * sum(layer.rows for layer in dimensions.decoder)

    def _most_voted(self, name: str, device: torch.device) -> Tensor:
        """Return the mask [rank] of the ranks of a layer's pool that would be merged now."""
        counts = self.counts_[name].to(device)
        return chosen(counts, math.ceil(self.merged * len(counts)))

    def _columns(self, adapter: Adapter) -> Tensor:
        """Return the columns of a layer's B that would be merged now; without a pool, all of them."""
        b = adapter.b
        return b[:, self._most_voted(adapter.name, b.device)] if adapter.name in self.counts_ else b

    def _look(self, model: nn.Module, inputs: tuple[Any, ...], words: dict[str, Any]) -> None:
        """Set the weight of each token [examples, tokens] in what the routers read of an example."""
        if not model.training:
            return
        guide = image_positions(model, words["input_ids"])
        if self.guide == "prompt_last":
            learnt = (words["labels"] != -100).to(torch.int8)  # -100: a token that is not learnt
            guide = nn.functional.one_hot(learnt.argmax(dim=1) - 1, learnt.shape[1]).bool()
        self._weights = guide / guide.sum(dim=1, keepdim=True)

    def _gate(self, name: str, rank: int) -> Any:
        """Return a forward hook for A that keeps the chosen ranks of its output [examples, tokens, rank]."""
        active = math.ceil(self.active * rank)

        def gate(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if not module.training:
                return output * self._most_voted(name, output.device)
            read = inputs[0].detach().float()
            # bench plan runs a decoder block by itself, so there are no tokens to look at
            guide = read.mean(dim=1) if self._weights is None else torch.einsum("nt,ntq->nq", self._weights, read)
            scores = module.router(guide)
            votes = chosen(scores, active)
            self._seen[name] = votes.sum(dim=0).to(scores.dtype)
            if self.select == "batch":
                votes = chosen(self._seen[name], active).expand_as(votes)
            mask = votes.to(scores.dtype)
            if self.router == "straight_through":
                soft = scores.softmax(dim=1)
                mask = mask + soft - soft.detach()
            return output * mask.unsqueeze(1)

        return gate


def _pooled(model: nn.Module) -> list[Adapter]:
    return [adapter for adapter in lora_adapters(model) if not adapter.in_connector]
