"""The loss of a training batch as it was until version 2 of training: logits of every position."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


def whole_loss(forward: Callable[..., Any], batch: Mapping[str, Tensor], tokens: int) -> Tensor:
    """Return the cross-entropy of the learnt tokens, summed and divided by ``tokens``."""
    loss: Tensor = forward(**batch, num_items_in_batch=tokens, use_cache=False).loss
    return loss
