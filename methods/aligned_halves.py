"""Update with the gradient of one half of the examples, at weights that the other half has perturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench import BlockStates, answer_loss, decoder_blocks, hyper

from .lora import LoRA

if TYPE_CHECKING:
    from bench import Recipe, Step

_IGNORED = -100  # the label of a token that is not learnt
_BITS = 1 << 16


def second_half(ids: Tensor, mask: Tensor, seed: int) -> Tensor:
    """Return which examples [n] are in the second half of an update, from their token ids [n, length].

    Each token has a random bit, and an example is in the half that the parity of its bits says. So the half of an
    example does not depend on the examples that it is processed with.
    """
    bits = torch.randint(2, (_BITS,), generator=torch.Generator().manual_seed(seed)).to(ids.device)
    return (bits[ids % _BITS] * mask).sum(dim=1) % 2 == 1


def perturbation(slopes: Sequence[Tensor], rho: float, form: str) -> list[Tensor]:
    """Return -rho * g for ``descent``, or rho * g / |g| for ``ascent_normalised``, with |g| that of all g together."""
    if form == "descent":
        return [-rho * slope for slope in slopes]
    length = torch.stack([slope.square().sum() for slope in slopes]).sum().sqrt()
    factor = torch.where(length > 0, rho / length, 0.0)
    return [factor * slope for slope in slopes]


@dataclass(kw_only=True)
class AlignedHalves(LoRA):
    """theta moves along the gradient of the first half of its examples at theta + perturbation(g of the second half).

    theta is everything that is trained. Both gradients are means over the learnt tokens of all micro-batches and
    workers. The second half's comes from the pass at theta, whose loss is reported; the first half's needs a second
    pass, which follows when all micro-batches were seen.
    """

    rho_max: float = hyper(0.05, low=5e-3, high=0.5, log=True, minimum=0.0)
    perturb: str = hyper("ascent_normalised", choices=("ascent_normalised", "descent"), search=False)

    batches_: list[dict[str, Tensor]] = field(init=False, default_factory=list)  # of the current update
    tokens_: list[int] = field(init=False, default_factory=lambda: [0, 0])  # learnt in each half of the update

    @override
    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        wrapped = super().adapt(model, rank, recipe)
        self._states = BlockStates(decoder_blocks(wrapped)[-1:])
        self._states.watch()
        return wrapped

    @override
    def backward(self, step: Step) -> None:
        """Add the gradients of the examples of the second half."""
        second = self._second(step, step.batch)
        counts = (step.batch["labels"] != _IGNORED).sum(dim=1)
        self.tokens_ = [self.tokens_[0] + int(counts[~second].sum()), self.tokens_[1] + int(counts[second].sum())]
        self.batches_.append(dict(step.batch))
        output: Any = self._states.last[0]
        output.register_hook(lambda gradient: gradient * second[:, None, None])
        super().backward(step)
        self._states.last.clear()

    @override
    def on_gradients(self, step: Step) -> None:
        """Replace the gradients of the second half by those of the first half at the perturbed weights."""
        batches, self.batches_ = self.batches_, []
        tokens, self.tokens_ = torch.tensor(self.tokens_, dtype=torch.float64), [0, 0]
        step.all_reduce([tokens])
        first, second = map(int, tokens)
        if first == 0:
            return
        trained = [parameter for parameter in step.model.parameters() if parameter.grad is not None]
        origins = [parameter.detach().clone() for parameter in trained]
        self._move(trained, (first + second) / max(second, 1), step.generator)
        for batch in batches:
            labels = batch["labels"].masked_fill(self._second(step, batch)[:, None], _IGNORED)
            answer_loss(step.model, {**batch, "labels": labels}, first).backward()  # type: ignore[no-untyped-call]
        self._states.last.clear()
        with torch.no_grad():
            for parameter, origin in zip(trained, origins, strict=True):
                parameter.copy_(origin)
        step.all_reduce([parameter.grad for parameter in trained if parameter.grad is not None])

    @override
    def slowdown(self) -> float:
        return 2.0  # two passes through all examples; on micro at rank 32, 1.9 times LoRA's CPU seconds

    @torch.no_grad()
    def _move(self, trained: Sequence[nn.Parameter], share: float, generator: torch.Generator) -> None:
        """Perturb the weights along their gradients, times ``share``, and clear the gradients."""
        rho = self.rho_max * float(torch.rand((), generator=generator))
        slopes = [share * parameter.grad for parameter in trained if parameter.grad is not None]
        for parameter, move in zip(trained, perturbation(slopes, rho, self.perturb), strict=True):
            parameter.add_(move)
            parameter.grad = torch.zeros_like(parameter)

    def _second(self, step: Step, batch: Mapping[str, Tensor]) -> Tensor:
        return second_half(batch["input_ids"], batch["attention_mask"], step.generator.initial_seed())
