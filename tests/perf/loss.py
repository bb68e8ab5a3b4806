"""The loss of a training batch: logits of every position, and of the learnt positions alone.

python -m tests.perf.loss
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.model.answer_loss import answer_loss
from tests.perf import scaled
from tests.perf.before.loss import whole_loss
from tests.perf.timing import seconds, show

EXAMPLES = 4
Loss = Callable[[Callable[..., Any], Mapping[str, Tensor], int], Tensor]


def update(loss: Loss, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradients of one micro-batch, with the same draws of dropout at every call."""
    torch.manual_seed(0)
    model.zero_grad()
    loss(model, batch, EXAMPLES * scaled.ANSWER).backward()  # type: ignore[no-untyped-call]
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def positions(loss: Loss, model: Any, batch: Mapping[str, Tensor]) -> int:
    """Return how many positions the head sees."""
    seen: list[int] = []
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numel() // inputs[0].shape[-1]))
    loss(model, batch, 1)
    hook.remove()
    return sum(seen)


def main() -> None:
    """Print a row for each loss."""
    model: Any = scaled.adapted(scaled.model())
    batch = scaled.batch(model, EXAMPLES)
    ways: dict[str, Loss] = {"all logits": whole_loss, "learnt positions": answer_loss}
    took = seconds({name: partial(update, loss, model, batch) for name, loss in ways.items()}, rounds=3)
    whole, few = (update(loss, model, batch) for loss in ways.values())
    error = max(float((few[name] - whole[name]).norm() / whole[name].norm()) for name in whole)
    rows = []
    for name, loss in ways.items():
        count = positions(loss, model, batch)
        ratio = f"{took['all logits'] / took[name]:.2f}"
        rows.append([name, str(count), f"{4 * count * (scaled.WORDS + 4) / 2**20:.1f}", f"{took[name]:.2f}", ratio])
    head = ["loss", "positions at the head", "logits in float32, MiB", "seconds a micro-batch", "ratio"]
    show(f"Training: {EXAMPLES} examples of 639 tokens, 4 learnt (scaled LLaVA, float32, one thread)", head, rows)
    print(f"largest relative difference of a gradient: {error:.1e}")


if __name__ == "__main__":
    main()
