"""The loss of a training batch, with logits only where a token is learnt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

IGNORED = -100  # the label of a token that is not learnt


def answer_loss(forward: Callable[..., Any], batch: Mapping[str, Tensor], tokens: int) -> Tensor:
    """Return the cross-entropy of the learnt tokens of a training batch, summed and divided by ``tokens``.

    ``forward`` is a model, or a function that runs one. ``batch`` has labels [n, length], which are -100 where nothing
    is learnt. The head runs only on the positions before learnt tokens: of 640 positions of an example with a short
    answer, it skips about 630.
    """
    following = torch.nn.functional.pad(batch["labels"][:, 1:], (0, 1), value=IGNORED)
    read = following != IGNORED
    loss: Tensor = forward(
        **batch, shift_labels=following[read], logits_to_keep=read, num_items_in_batch=tokens, use_cache=False
    ).loss
    return loss
