"""L2-Reg: LoRA with a quadratic pull on its weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from typing_extensions import override

from bench import Step, hyper, lora_adapters

from .lora import LoRA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from bench import Dimensions


def sum_of_squares(tensors: Iterable[Tensor]) -> Tensor:
    """Return the sum of all squared entries.

    >>> sum_of_squares([torch.tensor([1.0, 2.0]), torch.tensor([3.0])]).item()
    14.0
    """
    return torch.stack([tensor.float().square().sum() for tensor in tensors]).sum()


def mean_squared_distance(tensors: Iterable[Tensor], origins: Iterable[Tensor]) -> Tensor:
    """Return mean((tensor - origin)^2), averaged over the tensors."""
    pairs = zip(tensors, origins, strict=True)
    return torch.stack([(tensor - origin).float().square().mean() for tensor, origin in pairs]).mean()


def squared_delta(b: Tensor, a: Tensor, scale: float) -> Tensor:
    """Return |scale * B A|_F^2 as scale^2 tr((B^T B)(A A^T)), without forming B A [out, in].

    >>> squared_delta(torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0, 2.0]]), 2.0).item()
    40.0
    """
    b, a = b.float(), a.float()
    return scale**2 * ((b.T @ b) * (a @ a.T)).sum()


@dataclass(kw_only=True)
class L2(LoRA):
    """L = L_task + coefficient * R; ``form`` selects R. The sums run over all adapted layers.

    ``sumsq_AB``       R = sum |A|_F^2 + |B|_F^2. LoRASculpt describes it as "L2 regularization [...] to the LoRA
                       weights" and uses the coefficient 1e-3 (App. F(d)). This form also shrinks A, which
                       starts at random values.
    ``mse_from_init``  R = mean of mean((w - w_init)^2) over the trained tensors, including those of a tuned
                       connector. This is the baseline of the same group (NRCA, LossTwoReg.py).
    ``delta_fro2``     R = sum |scale * B A|_F^2, the squared distance from the pretrained weights.

    Deviations: the LoRASculpt authors released no code for this baseline, so the default form follows the words
    of the paper. NRCA takes a second optimizer step that uses only R; therefore its coefficient is not comparable with
    ours. Here R is added to the loss, once per update. R is a penalty, not AdamW's decoupled weight decay.
    """

    name: ClassVar[str] = "l2"
    display: ClassVar[str] = "L2-Reg"
    paper: ClassVar[str] = "Liang et al., LoRASculpt, CVPR 2025, arXiv:2503.16843, App. F(d)"
    off: ClassVar[dict[str, float]] = {"coefficient": 0.0}

    coefficient: float = hyper(1e-3, low=1e-5, high=1e-1, log=True, minimum=0.0)
    form: str = hyper("sumsq_AB", choices=("sumsq_AB", "mse_from_init", "delta_fro2"), search=False)

    initial_: dict[str, Tensor] = field(init=False, default_factory=dict)

    @override
    def penalty(self, step: Step) -> Tensor | None:
        if self.coefficient == 0:
            return None
        return self.coefficient * self._value(step)

    @override
    def memory(self, dimensions: Dimensions) -> Mapping[str, int]:
        if self.form != "mse_from_init" or self.coefficient == 0:
            return {}
        return {"start": 4 * (dimensions.factors(dimensions.layers) + dimensions.connector)}

    def _value(self, step: Step) -> Tensor:
        if self.form == "mse_from_init":
            return self._distance_from_start(step)
        adapters = list(lora_adapters(step.model))
        if self.form == "delta_fro2":
            return torch.stack([squared_delta(item.b, item.a, item.scale) for item in adapters]).sum()
        return sum_of_squares(factor for item in adapters for factor in (item.a, item.b))

    def _distance_from_start(self, step: Step) -> Tensor:
        trained = {name: value for name, value in step.model.named_parameters() if value.requires_grad}
        if not self.initial_:  # the first update: no weight has changed yet
            self.initial_ = {name: value.detach().clone() for name, value in trained.items()}
        origins = [self.initial_[name].to(value.device) for name, value in trained.items()]
        return mean_squared_distance(trained.values(), origins)
