"""Generate answers with base + change, and score them: one number per example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.data import Corpus
from bench.errors import PluginError
from bench.spec import Asked

BATCH = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """One example's outcome: what was asked, what was accepted, what was said, and its scores."""

    id: str
    question: str
    answers: tuple[str, ...]
    prediction: str
    scores: Mapping[str, float]


def evaluate(model: nn.Module, corpus: Corpus, asked: Asked, batch_size: int = BATCH) -> list[Answer]:
    """Return the outcome of the first ``asked.count`` examples, in the split's order."""
    examples = corpus.examples[: asked.count]
    predictions = generate(model, corpus, range(len(examples)), asked.max_new_tokens, batch_size)
    scores = corpus.task.score(examples, predictions)
    _check(corpus, scores, len(examples))
    return [
        Answer(
            example.id,
            example.question,
            example.answers,
            prediction,
            {name: float(values[index]) for name, values in scores.items()},
        )
        for index, (example, prediction) in enumerate(zip(examples, predictions, strict=True))
    ]


@torch.no_grad()
def generate(
    model: nn.Module, corpus: Corpus, indices: Sequence[int], max_new_tokens: int, batch_size: int = BATCH
) -> list[str]:
    """Return greedy answers in the order of ``indices``; batches are left-padded and sorted by length."""
    tokenizer = corpus.base.processor.tokenizer
    order = sorted(range(len(indices)), key=lambda place: corpus.prompt_length(indices[place]))
    answers = [""] * len(indices)
    for at in range(0, len(order), batch_size):
        places = order[at : at + batch_size]
        batch = corpus.prompt_batch([indices[place] for place in places])
        tokens = _greedy(model, batch, max_new_tokens)[:, batch["input_ids"].shape[1] :]
        for place, text in zip(places, tokenizer.batch_decode(tokens, skip_special_tokens=True), strict=True):
            answers[place] = text.strip()
    return answers


def _greedy(model: Any, batch: Mapping[str, torch.Tensor], max_new_tokens: int) -> torch.Tensor:
    tokens: torch.Tensor = model.generate(
        **batch, do_sample=False, num_beams=1, max_new_tokens=max_new_tokens, use_cache=True
    )
    return tokens


def _check(corpus: Corpus, scores: Mapping[str, np.ndarray], count: int) -> None:
    task = corpus.task
    if task.primary not in scores:
        raise PluginError(f"Task {task.name} scores {', '.join(scores)}, but not its primary {task.primary!r}.")
    for name, values in scores.items():
        if np.shape(values) != (count,) or not np.isfinite(values).all():
            raise PluginError(f"Task {task.name}: {name} must be {count} finite numbers, one per example.")
