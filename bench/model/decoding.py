"""Decode a batch greedily: one prefill, then one token per step for the rows that have not ended."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import TrialError
from bench.model.families import family_of
from bench.model.routed import reads_whole_prompts, select_rows

_BROKEN = -1  # in place of a token if a logit is not finite; it needs no other transfer from the device


def end_tokens(model: nn.Module, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end an answer by the generation settings, or else by the tokenizer."""
    settings: Any = getattr(model, "generation_config", None)
    found = getattr(settings, "eos_token_id", None)
    if found is None:
        found = tokenizer.eos_token_id
    if found is None:
        return frozenset()
    return frozenset([found] if isinstance(found, int) else found)


def greedy_settings(model: nn.Module, tokenizer: Any) -> Any:
    """Return the GenerationConfig with which transformers' ``generate`` answers as ``greedy`` does."""
    from transformers import GenerationConfig

    own: Any = getattr(model, "generation_config", None)
    pad = getattr(own, "pad_token_id", None)
    return GenerationConfig(
        do_sample=False,
        bos_token_id=getattr(own, "bos_token_id", None),
        eos_token_id=sorted(end_tokens(model, tokenizer)) or None,
        pad_token_id=tokenizer.pad_token_id if pad is None else pad,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Prefixes:
    """The m prefixes that n prompts share: each is read once, and its keys and values are repeated.

    ``inputs`` are the ids [m, start] and the images' features. ``rows`` [n] has the number of each prompt's prefix, and
    ``firsts`` [m] a prompt of each prefix.
    """

    inputs: Mapping[str, Tensor]
    rows: Tensor
    firsts: Tensor


def shares_prefixes(model: Any) -> bool:
    """Whether prompts may share what was read of their images.

    They may not if a router looks at whole prompts, or if a layer sees only a window of the tokens before: the padding
    between a prefix and the rest of a prompt would take places in the window.
    """
    text = model.config.get_text_config()
    windowed = getattr(text, "use_sliding_window", True) and getattr(text, "sliding_window", None)
    return not (reads_whole_prompts(model) or windowed)


def greedy(
    model: Any,
    batch: Mapping[str, Tensor],
    max_new_tokens: int,
    ends: Collection[int],
    prefixes: Prefixes | None = None,
) -> list[list[int]]:
    """Return each row's greedy continuation, cut before the first of ``ends`` or at ``max_new_tokens``.

    ``batch`` holds prompts padded on the left. If they share ``prefixes``, it holds them without features: the prefix
    and the rest of each row, both padded on the left. A row that ends is removed from the batch, its keys and values
    from the cache, and its choices from a routed change that the model holds. The tokens equal those of transformers'
    ``generate`` without sampling, beams and penalties.

    Raises:
        TrialError: a logit is infinite or NaN.
    """
    family, mask = family_of(model), batch["attention_mask"]
    is_padded = not bool(mask.all())
    said: list[list[int]] = [[] for _ in range(len(mask))]
    rows = list(range(len(mask)))
    inputs, positions, cache = _prompts(model, batch, prefixes)
    while True:
        outputs = model(
            **inputs,
            attention_mask=mask if is_padded else None,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache, chosen, going = outputs.past_key_values, _best(outputs.logits[:, -1].float()), []
        for place, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
            if token == _BROKEN:
                raise TrialError("The model's logits are not finite, so it has no answer. Train with a lower lr.")
            if token not in ends:
                said[row].append(token)
                if len(said[row]) < max_new_tokens:
                    going.append(place)
        if not going:
            return said
        if len(going) < len(rows):
            left = chosen.new_tensor(going)
            cache.batch_select_indices(left)
            select_rows(model, left)
            chosen, mask, positions = chosen[left], mask[left], positions[..., left, :]
            rows = [rows[place] for place in going]
        inputs = {"input_ids": chosen[:, None]}
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=-1)
        positions = family.next_positions(positions)


def _best(logits: Tensor) -> Tensor:
    """Return the token of each row's highest logit, or _BROKEN if a logit is not finite."""
    return logits.argmax(-1).masked_fill(~logits.isfinite().all(-1), _BROKEN)


def _prompts(
    model: Any, batch: Mapping[str, Tensor], prefixes: Prefixes | None
) -> tuple[dict[str, Tensor], Tensor, Any]:
    """Return what is left to read of prompts, its positions, and the cache of what was read: the shared prefixes."""
    mask, positions = batch["attention_mask"], family_of(model).positions(model.config, batch)
    if prefixes is None:
        return {name: value for name, value in batch.items() if name != "attention_mask"}, positions, None
    start = prefixes.inputs["input_ids"].shape[1]
    read = mask[prefixes.firsts, :start]
    cache = model(
        **prefixes.inputs,
        attention_mask=None if bool(read.all()) else read,
        position_ids=positions[..., prefixes.firsts, :start],
        use_cache=True,
        logits_to_keep=1,
    ).past_key_values
    cache.batch_select_indices(prefixes.rows)
    return {"input_ids": batch["input_ids"][:, start:]}, positions[..., start:], cache
