"""Generate answers with base + change and score them, one number per example."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from bench.errors import TrialError
from bench.model.decoding import end_tokens, greedy, shares_prefixes
from bench.plugins.examples import check_scores
from bench.store.unfinished import Partial
from bench.trial.corpus import Corpus
from bench.trial.workers import ALONE, Group
from bench.values.resources import Resources
from bench.values.scores import ScoreSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """One example's outcome: its question, the accepted answers, the model's prediction, and the scores."""

    id: str
    question: str
    answers: tuple[str, ...]
    prediction: str
    scores: Mapping[str, float]


def evaluate(  # noqa: PLR0913  what is asked, and how it is divided and generated
    model: nn.Module,
    corpus: Corpus,
    asked: ScoreSpec,
    *,
    batch_size: int = Resources().eval_batch_size,
    group: Group = ALONE,
    partial: Partial | None = None,
    whole: bool = False,
) -> list[Answer]:
    """Return the outcomes of the first ``asked.count`` examples, in the split's order.

    Batches depend only on the examples and ``batch_size``, and the workers of ``group`` divide them. Neither the number
    of workers nor the answers that ``partial`` kept from an earlier attempt changes a prediction. Prompts that share an
    image's prefix read it once, unless they are to be read ``whole``.
    """
    examples = corpus.examples[: asked.count]
    known = dict(partial.predictions) if partial else {}
    most = asked.max_new_tokens
    for number, places in enumerate(batches(corpus, range(len(examples)), batch_size)):
        lacking = [place for place in places if place not in known]
        if lacking and number % group.size == group.rank:
            began, sizes = time.monotonic(), set[int]()
            answers = dict(zip(lacking, answer(model, corpus, lacking, most, sizes, whole=whole), strict=True))
            known |= answers
            if partial:
                partial.keep(answers, time.monotonic() - began, sizes)
    for others, smaller in group.gather((known, partial.smaller if partial else set())):
        known |= others
        if partial:
            partial.smaller |= smaller
    # only the first worker scores: for captions, each worker would start a Java virtual machine
    return group.first(lambda: _outcomes(corpus, asked, [known[place] for place in range(len(examples))]))


def means(answers: Sequence[Answer]) -> dict[str, float]:
    """Return each metric's mean over the answers."""
    return {name: sum(answer.scores[name] for answer in answers) / len(answers) for name in answers[0].scores}


def batches(corpus: Corpus, indices: Sequence[int], batch_size: int) -> list[list[int]]:
    """Return batches of examples, always the same ones.

    Questions on one image stay together, because they share its prefix; the images are sorted by their longest prompt,
    to save padding.
    """
    groups: dict[int, list[int]] = {}
    for index in indices:
        groups.setdefault(corpus.image(index), []).append(index)
    by_length = sorted(groups.values(), key=lambda group: max(map(corpus.prompt_length, group)))
    order = [index for group in by_length for index in group]
    return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]


def answer(
    model: nn.Module,
    corpus: Corpus,
    indices: Sequence[int],
    max_new_tokens: int,
    sizes: set[int] | None = None,
    *,
    whole: bool = False,
) -> list[str]:
    """Answer one batch greedily, halving it if memory runs out; the halves' sizes are added to ``sizes``.

    Raises:
        TrialError: one answer alone does not fit in memory.
    """
    try:
        return _answer(model, corpus, indices, max_new_tokens, whole=whole)
    except torch.OutOfMemoryError as error:
        if len(indices) == 1:
            raise TrialError(f"One answer alone does not fit in memory ({error}). Use a larger GPU.") from error
    middle = len(indices) // 2  # outside the `except` block: the exception's traceback keeps the tensors alive
    log.warning(
        "%d answers at once do not fit in memory; they are generated in halves. See --eval-batch.", len(indices)
    )
    parts = (indices[:middle], indices[middle:])
    sizes = set() if sizes is None else sizes
    sizes |= {len(part) for part in parts}
    return [text for part in parts for text in answer(model, corpus, part, max_new_tokens, sizes, whole=whole)]


@torch.no_grad()
def _answer(model: nn.Module, corpus: Corpus, indices: Sequence[int], max_new_tokens: int, *, whole: bool) -> list[str]:
    whole = whole or not shares_prefixes(model)
    tokenizer = corpus.base.processor.tokenizer
    batch, prefixes = (corpus.prompt_batch(indices), None) if whole else corpus.prefixed_batch(indices)
    tokens = greedy(model, batch, max_new_tokens, end_tokens(model, tokenizer), prefixes)
    return [text.strip() for text in tokenizer.batch_decode(tokens, skip_special_tokens=True)]


def _outcomes(corpus: Corpus, asked: ScoreSpec, predictions: Sequence[str]) -> list[Answer]:
    examples = corpus.examples[: asked.count]
    scores = corpus.task.score(examples, predictions)
    check_scores(corpus.task, scores, len(examples))
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
