"""Ortho-LoRA: joint training in which no task's gradient works against another's, for A and B apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from typing_extensions import override

from bench import Start, Step, hyper

from .lora import LoRA
from .visual_drift import Gradients, grouped, joined, trained, write

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench import Dimensions


def without_conflicts(gradients: Tensor, order: Sequence[int]) -> Tensor:
    """Return each task's gradient [tasks, entries] without what works against the others' gradients.

    From h_i = g_i on, for each j in ``order`` except i: if <h_i, g_j> < 0, h_i loses its part along g_j.

    >>> without_conflicts(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]), [0, 1]).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    found = gradients.clone()
    for j in order:
        other = gradients[j]
        against = (found @ other).clamp(max=0)
        against[j] = 0
        square = other.square().sum().clamp(min=torch.finfo(other.dtype).tiny)
        found -= torch.outer(against / square, other)
    return found


@dataclass(kw_only=True)
class OrthoLoRA(LoRA):
    """g = sum_i h_i, where h_i is the gradient g_i of task i, projected off each g_j with <h_i, g_j> < 0.

    h_i starts at g_i. For every other task j in a random order, h_i -= (min(0, <h_i, g_j>) / |g_j|^2) g_j. All tasks
    share one LoRA and are learnt at once; every update has equal parts of them. What counts as one vector is each A and
    each B by itself: gradients may conflict in A and not in B. The change needs no task at test time.

    Certain are the condition, the projection, and that A and B are projected apart. We know the paper from summaries
    only, and found no code. These are choices of ours:

    ``unit``  what is one vector: a ``tensor``, which is the method; A and B of a ``layer``; or all parameters together
              (``global``), as in gradient surgery (PCGrad) without LoRA. ``none`` projects nothing, which is LoRA.

    As in PCGrad, h_i is projected off the others' own gradients, not their projected ones, and the h_i are summed. One
    order of the tasks is drawn for each update. A tensor of a tuned connector is a vector like A and B. The loss of an
    update is the mean over its learnt tokens, so each g_i has the weight of its task's share of them: a task with long
    answers counts more, as it does in a joint LoRA. With one task there is no conflict, and the method is LoRA.
    """

    name: ClassVar[str] = "ortho_lora"
    display: ClassVar[str] = "Ortho-LoRA"
    paper: ClassVar[str] = "Ortho-LoRA, arXiv:2601.09684"
    off: ClassVar[dict[str, str]] = {"unit": "none"}
    made_for: ClassVar[Literal["target", "sequence", "joint"]] = "joint"

    unit: str = hyper("tensor", choices=("tensor", "layer", "global", "none"), search=False)

    by_task_: dict[str, Gradients] = field(init=False, default_factory=dict)  # of the current update

    @override
    def start(self, model: nn.Module, start: Start) -> None:
        super().start(model, start)
        self._tasks = start.together if self.unit != "none" else ()

    @override
    def backward(self, step: Step) -> None:
        if len(self._tasks) < 2:
            super().backward(step)
            return
        own, parameters = self.by_task_.setdefault(step.task, {}), trained(step.model)
        for name, parameter in parameters.items():
            parameter.grad = own.get(name)
        super().backward(step)
        for name, parameter in parameters.items():
            if parameter.grad is not None:
                own[name], parameter.grad = parameter.grad, None

    @override
    def on_gradients(self, step: Step) -> None:
        if len(self._tasks) < 2:
            return
        parameters = trained(step.model)
        blank = [{name: torch.zeros_like(value) for name, value in parameters.items()} for _ in self._tasks]
        found = [zeros | self.by_task_.get(task, {}) for zeros, task in zip(blank, self._tasks, strict=True)]
        self.by_task_ = {}
        step.all_reduce([gradient for gradients in found for gradient in gradients.values()])
        order = torch.randperm(len(found), generator=step.generator).tolist()
        for names in grouped(step.model, self.unit):
            each = torch.stack([joined(gradients, names) for gradients in found])
            write(parameters, names, without_conflicts(each, order).sum(dim=0))

    @override
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        tasks = dimensions.tasks if self.unit != "none" else 1
        entries = dimensions.factors(dimensions.layers) + dimensions.connector
        return {"gradients of the tasks": 4 * tasks * entries} if tasks > 1 else {}
