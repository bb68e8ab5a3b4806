"""MTL-LoRA: joint training with one A, several B, and for each task a transform between them and weights of the B."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench import Change, PluginError, Start, compute_factors, hyper, lora_adapters

from .lora import LoRA

if TYPE_CHECKING:
    from bench import Dimensions


class WeightedSum(nn.Module):
    """sum_i w_i B_i for the current task, with w = softmax(scores / temperature); B_1 is the layer's own B [out, rank].

    ``scores`` [tasks, bases] are trained, and so are the other B, which start at 0.
    """

    def __init__(self, b: Tensor, scores: Tensor, temperature: float) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores.to(b.device))
        self.others = nn.Parameter(b.new_zeros(scores.shape[1] - 1, *b.shape))
        self.temperature = temperature
        self.task = 0

    @override
    def forward(self, b: Tensor) -> Tensor:
        weights = (self.scores[self.task] / self.temperature).softmax(dim=0)
        mixed: Tensor = weights[0] * b + torch.tensordot(weights[1:], self.others, dims=1)
        return mixed


class Transformed(nn.Module):
    """Lambda A for the current task; each Lambda starts at I, and is a matrix [rank, rank] or its diagonal [rank]."""

    def __init__(self, a: Tensor, tasks: int, *, diagonal: bool) -> None:
        super().__init__()
        start = a.new_ones(len(a)) if diagonal else torch.eye(len(a), dtype=a.dtype, device=a.device)
        self.transforms = nn.Parameter(start.repeat(tasks, *[1] * start.dim()))
        self.task = 0

    @override
    def forward(self, a: Tensor) -> Tensor:
        own = self.transforms[self.task]
        return own @ a if own.dim() == 2 else own.unsqueeze(1) * a


@dataclass(kw_only=True)
class MTLLoRA(LoRA):
    """Delta W_t = scale * (sum_i w_ti B_i) Lambda_t A for task t, with w_t = softmax(theta_t / temperature).

    All tasks share A [rank, in] and the n ``bases`` B_i [out, rank] of a layer; a task has a Lambda_t [rank, rank] and
    n scores theta_t of its own in each layer. All of it is trained at once, on updates with equal parts of the tasks.

    A task is answered with its own Delta W_t, so the user must know the task of every question (*task id given*).
    Questions of other tasks, as those of the sources, are answered with the last task's: joint training has no newest
    task, and the authors define no answer without a task. In a sequence of stages the method is not defined either.

    As in the released code, Lambda starts at I, all B at 0, and theta at U(-1/sqrt(n), 1/sqrt(n)). The B differ only
    through their weights: with equal scores they would stay equal. With one task the method is a LoRA with n matrices
    B, which merge into one, and claims nothing against forgetting. The released scripts choose these values:

    ``bases``        n. The language model's script has 3; the vision-language script takes an argument.
    ``temperature``  0.1 in the language model's script, 0.8 in the vision-language script, which is our default.
    ``transform``    Lambda is a ``full`` matrix, as in the paper, or ``diagonal``. ``identity`` keeps it at I; with one
                     base that is LoRA.

    Deviations: every linear layer of the decoder is adapted, not only those of attention; the learning rate, the number
    of updates and the scale are the recipe's.
    """

    name: ClassVar[str] = "mtl_lora"
    display: ClassVar[str] = "MTL-LoRA"
    paper: ClassVar[str] = "Yang et al., MTL-LoRA, AAAI 2025, arXiv:2410.09437"
    off: ClassVar[dict[str, float | str]] = {"bases": 1, "transform": "identity"}
    aliases: ClassVar[dict[str, str]] = {"n": "bases", "tau": "temperature"}
    remark: ClassVar[str] = "It answers questions of the sources with the change of its last task."
    made_for: ClassVar[Literal["target", "sequence", "joint"]] = "joint"

    bases: int = hyper(3, minimum=1, maximum=64, search=False)
    temperature: float = hyper(0.8, low=0.05, high=2.0, log=True, minimum=1e-3)
    transform: str = hyper("full", choices=("full", "diagonal", "identity"), search=False)

    @override
    def start(self, model: nn.Module, start: Start) -> None:
        if start.stage > 1:
            raise PluginError("mtl_lora learns all tasks at once and is not defined after another stage. Use lora.")
        self._tasks = start.together or ("",)
        self._switched: list[WeightedSum | Transformed] = []
        for adapter in list(lora_adapters(model)):
            mixed = transformed = None
            if self.bases > 1:
                scores = torch.empty(len(self._tasks), self.bases)
                scores.uniform_(-(self.bases**-0.5), self.bases**-0.5, generator=start.generator)
                mixed = WeightedSum(adapter.b, scores, self.temperature)
            if self.transform != "identity":
                transformed = Transformed(adapter.a, len(self._tasks), diagonal=self.transform == "diagonal")
            compute_factors(model, adapter, a=transformed, b=mixed)
            self._switched += [module for module in (mixed, transformed) if module is not None]

    @override
    def on_batch(self, model: nn.Module, task: str) -> None:
        number = self._tasks.index(task)
        for module in self._switched:
            module.task = number

    @override
    def change(self, model: nn.Module) -> Change:
        return self._change_of(model, self._tasks[-1])

    @override
    def bank(self, model: nn.Module) -> Mapping[str, Change]:
        found = {task: self._change_of(model, task) for task in self._tasks[:-1]}
        self.on_batch(model, self._tasks[-1])
        return found

    @override
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        rank, tasks = dimensions.rank, dimensions.tasks
        own = tasks * {"full": rank * rank, "diagonal": rank, "identity": 0}[self.transform]
        own += tasks * self.bases if self.bases > 1 else 0
        entries = sum(own + (self.bases - 1) * rank * layer.rows for layer in dimensions.layers)
        return {"bases and transforms": 16 * entries} if entries else {}  # with gradients and both moments

    @override
    def change_bytes(self, dimensions: Dimensions) -> int:
        return 4 * dimensions.factors(dimensions.layers)

    @override
    def left_bytes(self, dimensions: Dimensions, stage: int) -> int:
        return (dimensions.tasks - 1) * (self.change_bytes(dimensions) + 4 * dimensions.connector)

    def _change_of(self, model: nn.Module, task: str) -> Change:
        self.on_batch(model, task)
        return super().change(model)
