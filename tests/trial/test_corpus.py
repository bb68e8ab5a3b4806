from __future__ import annotations

from bench.checks.tiny import tiny
from bench.trial.corpus import IGNORED


def test_the_tokens_that_are_counted_are_those_that_are_learnt_however_short_the_limit() -> None:
    corpus = tiny().train
    everything = range(len(corpus.examples))

    for max_length in (12, 14, 16, 64):
        labels = corpus.training_batch(everything, max_length)["labels"]

        assert corpus.target_tokens(everything, max_length) == int((labels != IGNORED).sum())


def test_answers_of_one_batch_differ_in_length() -> None:
    corpus = tiny().train

    assert len({corpus.target_tokens([index], 64) for index in range(8)}) > 1
