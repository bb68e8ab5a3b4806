from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from bench.checks.tiny import RECIPE, Squares, tiny
from bench.model.answer_loss import IGNORED
from bench.plugins.task import Example, Reading, Split
from bench.trial.corpus import Corpus


def test_the_tokens_that_are_counted_are_those_that_are_learnt_however_short_the_limit() -> None:
    corpus = tiny().train
    everything = range(len(corpus.examples))

    for max_length in (12, 14, 16, 64):
        labels = corpus.training_batch(everything, max_length)["labels"]

        assert corpus.target_tokens(everything, max_length) == int((labels != IGNORED).sum())


def test_answers_of_one_batch_differ_in_length() -> None:
    corpus = tiny().train

    assert len({corpus.target_tokens([index], 64) for index in range(8)}) > 1


class OneTooLong(Squares):
    """Squares whose third training example leaves no room for an answer."""

    def examples(self, split: Split) -> Sequence[Example]:
        first, second, third, *rest = super().examples(split)
        return [first, second, replace(third, question="what color is it? " * 500), *rest]


def test_of_a_sparse_corpus_only_the_tokens_of_the_examples_that_are_read_are_kept() -> None:
    base, task = tiny().base, OneTooLong()
    task.reading = Reading(skip_bad=1)
    whole, sparse = (
        Corpus(base, task, "train", RECIPE.template, max_length=RECIPE.max_length, sparse=sparse)
        for sparse in (False, True)
    )

    ours, theirs = (corpus.training_batch([1, 2, 40], RECIPE.max_length) for corpus in (sparse, whole))

    assert [example.id for example in sparse.examples] == [example.id for example in whole.examples]
    assert [example.id for example in sparse.examples[:3]] == ["train-0", "train-1", "train-3"]
    assert all(torch.equal(ours[name], theirs[name]) for name in ("input_ids", "labels"))
    assert (sorted(sparse._pairs), len(whole._pairs)) == ([1, 2, 40], 47)
