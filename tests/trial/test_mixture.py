"""Batches of a target's and its sources' examples: every row is what its own corpus makes of it."""

from __future__ import annotations

import pytest
import torch

from bench.checks.tiny import RECIPE, Squares, tiny
from bench.model.answer_loss import IGNORED
from bench.trial.corpus import Corpus
from bench.trial.mixture import Mixture
from tests.making.towers import counted_passes


def test_the_target_comes_first_and_the_sources_follow_in_their_order() -> None:
    lessons = tiny().lessons

    assert len(lessons.examples) == 48
    assert lessons.sources == {"old_squares": range(48, 96), "older_squares": range(96, 144)}


def test_a_batch_of_the_target_alone_has_the_bits_of_its_own_corpus() -> None:
    bench = tiny()

    ours, own = (part.training_batch([5, 0, 47, 5], RECIPE.max_length) for part in (bench.lessons, bench.train))

    assert ours.keys() == own.keys()
    assert all(torch.equal(ours[name], own[name]) for name in own)


def test_every_row_of_a_joint_batch_is_that_of_its_own_corpus_and_the_padding_is_joint() -> None:
    lessons = tiny().lessons
    numbers = [100, 3, 50, 7, 143, 3]

    batch = lessons.training_batch(numbers, RECIPE.max_length)

    features = [name for name in batch if name not in {"input_ids", "attention_mask", "labels"}]
    for place, number in enumerate(numbers):
        corpus, index = lessons._place(number)
        alone = lessons._corpora[corpus].training_batch([index], RECIPE.max_length)
        length = alone["input_ids"].shape[1]
        for name in ("input_ids", "attention_mask", "labels"):
            assert torch.equal(batch[name][place, :length], alone[name][0])
        assert not batch["attention_mask"][place, length:].any()
        assert (batch["labels"][place, length:] == IGNORED).all()
        assert all(torch.equal(batch[name][place], alone[name][0]) for name in features)
    assert features
    assert len({int(row.sum()) for row in batch["attention_mask"]}) > 1  # the padding matters here


def test_the_tokens_that_are_counted_are_those_that_are_learnt() -> None:
    lessons = tiny().lessons
    numbers = [100, 3, 50, 7, 143, 3]

    for max_length in (12, 16, 64):
        labels = lessons.training_batch(numbers, max_length)["labels"]
        assert lessons.target_tokens(numbers, max_length) == int((labels != IGNORED).sum())


def test_only_the_images_that_are_seen_of_a_source_pass_the_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    base, counts = tiny().base, counted_passes(monkeypatch)
    target = Corpus(base, Squares(), "train", RECIPE.template)
    source = Corpus(base, Squares(), "train", RECIPE.template, sparse=True)
    mixture = Mixture(target, {"old": source})

    mixture.training_batch([0, 48, 60, 1], RECIPE.max_length)
    mixture.training_batch([2, 60], RECIPE.max_length)

    assert counts == [32, 1, 1]
