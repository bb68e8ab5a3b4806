"""TreeLoRA: one LoRA for all tasks, pulled layer by layer along the earlier task that a bandit picks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench import Recipe, Start, Step, hyper, lora_adapters

from .lora import LoRA

if TYPE_CHECKING:
    from bench import Adapter, Dimensions

_NEVER = 1e-5  # as released: the bonus of what was never picked is large, but finite


def bonus(counts: Tensor, index: int, total: int) -> Tensor:
    """Return sqrt(ln(2 n (k + 1) (k + 2))) / sqrt(2 count) at update k = ``index`` of n = ``total``."""
    return math.sqrt(math.log(2 * total * (index + 1) * (index + 2))) / (2 * counts + _NEVER).sqrt()


def scores(distances: Tensor, bonuses: Tensor, pick: str) -> Tensor:
    """Return how much each earlier task is preferred in each layer: bonus - distance, or for ``farthest`` their sum."""
    return bonuses + (distances if pick == "farthest" else -distances)


def branch(first: int, outer: Sequence[Tensor], inner: Sequence[Tensor] = ()) -> tuple[list[int], float]:
    """Return the tasks in the branch of the tree that holds task ``first``, and the factor of their preferences.

    ``outer`` has each task's vector in the first layer; the root splits the tasks at the median of their products with
    the mean vector. The factor is that median of the branch in the second layer, ``inner``, and at most 1.5.

    >>> vectors = [torch.tensor([value]) for value in (1.0, 2.0, 3.0)]
    >>> branch(1, vectors, vectors), branch(0, vectors, vectors)
    (([1, 2], 1.5), ([0], 1.0))
    """
    tasks, products = list(range(len(outer))), _products(outer)
    upper = [task for task in tasks if products[task] >= products.median()]
    if upper == tasks:
        upper = tasks[: len(tasks) // 2]
    members = upper if first in upper else [task for task in tasks if task not in upper]
    if len(members) == 1 or not inner:
        return members, 1.0
    return members, min(1.5, float(_products([inner[task] for task in members]).median()))


def joined(vectors: Sequence[Tensor]) -> Tensor:
    """Return the tensors of all layers as one vector."""
    return torch.cat([vector.flatten() for vector in vectors])


def pull(aligned: Tensor, strength: float) -> Tensor:
    """Return -strength * S / |S| with |S| held fixed: its value is +-strength, its gradient that of -log |S|."""
    return -strength * aligned / aligned.detach().abs()


@dataclass(kw_only=True)
class TreeLoRA(LoRA):
    """L = L_task - reg * (k / n) * cos(u, V) at update k of n, where u and V have a vector for each layer.

    The tasks train one LoRA, one after the other. V has what an earlier task left of each layer's A, and u what the
    current task has of it. In each layer a bandit picks the earlier task, by the L1 distance of its vector from the
    running mean of the current task's; only what is picked is measured. A connector's adapters are not pulled.

    In the paper a task's vector is its mean gradient, and a lower confidence bound picks the most similar task. The
    released code does something else. Choices of ours, and what the released code has:

    ``source``  ``gradient``: V is the mean gradient of the task's loss in A. A gradient depends on A only through
                second derivatives, so u is A at the start of the task minus A, which plain gradient descent makes the
                learning rate times the sum of the gradients. ``weights``, as released: V is the mean of A, and u is A.
    ``pick``    ``lcb`` prefers the lowest distance - bonus; ``farthest``, as released, the highest distance + bonus.
    ``draw``    ``argmin`` takes the preferred task of each layer. ``multinomial``, as released, draws it from the
                softmax of the preferences, of which those in a drawn branch of the tree were multiplied by a factor.
    ``norm``    ``plain`` is the loss above. ``log``, as released, is L_task - c S / |sg S| with S = <u, V> and
                c = reg * (k / n) * sg(L_task), where sg stops the gradient and L_task is the whole update's mean loss.
                At the second task of ``micro`` its gradient is 2 to 15 % of the task's with the weights; with the
                gradient 60 times it, when u is still small, and later 0.5 to 3 times. ``plain`` has 5 to 40 %.

    The released code (commit 20c2dc2) divides by S, which is positive for its weights. It adds V up once per layer and
    anew in each epoch, counts k and n in an epoch, and needs all A to have one shape. None of this is repeated here.
    """

    name: ClassVar[str] = "tree_lora"
    display: ClassVar[str] = "TreeLoRA"
    paper: ClassVar[str] = "Qian et al., TreeLoRA, ICML 2025, arXiv:2506.10355"
    off: ClassVar[dict[str, float]] = {"reg": 0.0}
    made_for: ClassVar[Literal["target", "sequence", "joint"]] = "sequence"

    reg: float = hyper(0.5, low=0.05, high=5.0, log=True, minimum=0.0)
    source: str = hyper("gradient", choices=("gradient", "weights"), search=False)
    pick: str = hyper("lcb", choices=("lcb", "farthest"), search=False)
    draw: str = hyper("argmin", choices=("argmin", "multinomial"), search=False)
    norm: str = hyper("plain", choices=("plain", "log"), search=False)

    means_: dict[str, Tensor] = field(init=False, default_factory=dict)  # of the current task, by layer [rank, in]
    distances_: Tensor = field(init=False, default_factory=lambda: torch.zeros(0))  # their sums [tasks, layers]
    counts_: Tensor = field(init=False, default_factory=lambda: torch.zeros(0))  # how often each was picked
    loss_: float = field(init=False, default=0.0)  # of the current update

    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        self._stage, self._kept = 1, dict[str, Tensor]()
        self._earlier: list[dict[str, Tensor]] = []
        self._starts: dict[str, Tensor] = {}
        return super().adapt(model, rank, recipe)

    @override
    def start(self, model: nn.Module, start: Start) -> None:
        super().start(model, start)
        self._stage, self._kept = start.stage, dict(start.kept) if self.reg > 0 else {}
        layers, stages = _layers(model), sorted({int(name.partition(".")[0]) for name in self._kept})
        self._earlier = [{layer.name: start.kept[f"{stage}.{layer.name}"] for layer in layers} for stage in stages]
        self._starts = {layer.name: layer.a.detach().clone() for layer in layers if stages}
        self.distances_, self.counts_ = torch.zeros(2, len(stages), len(layers), dtype=torch.float64)

    @override
    def keep(self, model: nn.Module) -> Mapping[str, Tensor]:
        return {**self._kept, **{f"{self._stage}.{name}": mean for name, mean in self.means_.items()}}

    @override
    def left_bytes(self, dimensions: Dimensions, stage: int) -> int:
        means = dimensions.rank * sum(layer.columns for layer in dimensions.decoder)
        return 4 * stage * means if self.reg > 0 else 0

    @override
    def backward(self, step: Step) -> None:
        super().backward(step)
        if self._earlier and self.norm == "log":
            self.loss_ += float(step.loss.detach())

    @override
    def penalty(self, step: Step) -> Tensor | None:
        """Read the task's gradients, to which no penalty has been added yet, and pull."""
        if self.reg == 0:
            return None
        layers = _layers(step.model)
        for layer in layers:
            vector = layer.a.grad if self.source == "gradient" else layer.a.detach()
            assert vector is not None
            mean = self.means_.setdefault(layer.name, torch.zeros_like(vector))
            mean += (vector - mean) / (step.index + 1)
        if not self._earlier:
            return None
        earlier = self._picked(layers, step)
        strength = self.reg * step.index / step.total
        if self.norm == "log":
            loss = torch.tensor([self.loss_], dtype=torch.float64)
            step.all_reduce([loss])
            self.loss_, strength = 0.0, strength * float(loss)
        vectors = [self._starts[layer.name] - layer.a if self.source == "gradient" else layer.a for layer in layers]
        own, other = joined(vectors), joined(earlier)
        aligned = own @ other
        if strength == 0 or float(aligned.detach()) == 0:
            return None
        if self.norm == "log":
            return pull(aligned, strength)
        return -strength * nn.functional.cosine_similarity(own, other, dim=0)

    @override
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        entries = dimensions.rank * sum(layer.columns for layer in dimensions.decoder)
        # the mean, A at the start, and twice u and the picked vectors; what was not picked is on the CPU
        return {"task vectors": 6 * 4 * entries} if self.reg > 0 else {}

    def _picked(self, layers: Sequence[Adapter], step: Step) -> list[Tensor]:
        """Pick an earlier task for each layer, measure its distance, and return its vector in each layer."""
        distances = self.distances_ / self.counts_.clamp(min=1)
        preferred = scores(distances, bonus(self.counts_, step.index, step.total), self.pick)
        if self.draw == "argmin":
            picked = preferred.argsort(dim=0, descending=True, stable=True)[0]
        else:
            picked = self._drawn(preferred, step.generator, [layer.name for layer in layers[:2]])
        pairs = zip(picked, layers, strict=True)
        vectors = [self._earlier[task][layer.name].to(layer.a.device) for task, layer in pairs]
        found = [(self.means_[layer.name] - vector).abs().sum() for layer, vector in zip(layers, vectors, strict=True)]
        places = torch.arange(len(layers))
        self.distances_[picked, places] += torch.stack(found).double().cpu()
        self.counts_[picked, places] += 1
        return vectors

    def _drawn(self, preferred: Tensor, generator: torch.Generator, names: Sequence[str]) -> Tensor:
        """Draw a task for each layer as the released code does; ``names`` are the layers at which the tree splits."""
        preferred = preferred + preferred.min()
        first = int(torch.multinomial(preferred.sum(dim=1).softmax(dim=0), 1, generator=generator))
        vectors = [[after[name] for after in self._earlier] for name in names]
        members, factor = branch(first, *([each[0], *(b - a for a, b in pairwise(each))] for each in vectors))
        preferred[members] *= factor
        preferred = preferred / (preferred.max() - preferred.min() + 1e-5)
        return torch.multinomial(preferred.softmax(dim=0).T, 1, generator=generator).flatten()


def _layers(model: nn.Module) -> list[Adapter]:
    return [adapter for adapter in lora_adapters(model) if not adapter.in_connector]


def _products(vectors: Sequence[Tensor]) -> Tensor:
    stacked = torch.stack([vector.flatten() for vector in vectors])
    return stacked @ stacked.mean(dim=0)
