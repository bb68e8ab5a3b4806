"""Prompts that share an image's prefix: it is read once, and the answers stay those of whole prompts."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from typing_extensions import override

from bench.checks.tiny import RANK, RECIPE, Squares, Tiny, _examples, tiny
from bench.model.adapters import insert_lora
from bench.model.decoding import greedy
from bench.model.resident import Base, Form
from bench.model.routed import held_live, insert_routed, routed_change
from bench.plan.suite import MICRO
from bench.plugins.task import Example, Split, Task
from bench.plugins.tasks import Tasks
from bench.trial.corpus import Corpus
from bench.trial.evaluate import batches, evaluate
from bench.values.scores import ScoreSpec
from tests.perf import scaled
from tests.perf.prefixes import corpus as corpus_of

A_PICTURE = 4  # questions on each picture


class Shared(Squares):
    """Squares, of which four questions in a row are on one picture."""

    @override
    def examples(self, split: Split) -> Sequence[Example]:
        found = list(super().examples(split))
        return [replace(item, image=found[at - at % A_PICTURE].image) for at, item in enumerate(found)]


@pytest.fixture
def bench() -> Tiny:
    return tiny()


@pytest.fixture
def corpus(bench: Tiny) -> Corpus:
    return Corpus(bench.base, Shared(), "test", RECIPE.template)


def said(
    model: nn.Module, corpus: Corpus, indices: Sequence[int], ends: Sequence[int] = (), *, whole: bool
) -> list[list[int]]:
    batch, prefixes = (corpus.prompt_batch(indices), None) if whole else corpus.prefixed_batch(indices)
    assert whole == (prefixes is None)
    with torch.no_grad():
        return greedy(model, batch, 6, ends, prefixes)


@contextmanager
def read_by(model: nn.Module) -> Iterator[list[tuple[int, int]]]:
    """Note the shape of every batch of tokens that the model reads."""
    seen: list[tuple[int, int]] = []
    hook = model.register_forward_pre_hook(
        lambda _, __, words: seen.append(tuple(words["input_ids"].shape)), with_kwargs=True
    )
    try:
        yield seen
    finally:
        hook.remove()


def shaken(model: nn.Module, size: float = 0.3) -> nn.Module:
    """Return a model whose answers depend on every token that it reads."""
    torch.manual_seed(3)
    for parameter in model.parameters():
        parameter.data = parameter.data + size * torch.randn_like(parameter)
    return model


def test_tokens_are_those_of_whole_prompts(bench: Tiny, corpus: Corpus) -> None:
    model = shaken(bench.base.tree())
    everything = range(len(corpus.examples))
    assert len({corpus.prompt_length(index) for index in everything}) > 1

    found = said(model, corpus, everything, whole=False)

    assert found == said(model, corpus, everything, whole=True)
    assert len(set(map(tuple, found))) > 4


def test_rows_that_share_a_prefix_end_one_by_one(bench: Tiny, corpus: Corpus) -> None:
    model = shaken(bench.base.tree())
    indices, tried = range(8), 0
    free = said(model, corpus, indices, whole=True)
    for place in range(6):
        ends = sorted({row[place] for row in free[::2]})

        found = said(model, corpus, indices, ends, whole=False)

        assert found == said(model, corpus, indices, ends, whole=True)
        tried += len({len(row) for row in found}) > 1
    assert tried > 1


def test_a_live_adapter_reads_shared_prefixes(bench: Tiny, corpus: Corpus) -> None:
    model = shaken(insert_lora(bench.base.tree(), RANK, RECIPE).eval())

    assert said(model, corpus, range(8), whole=False) == said(model, corpus, range(8), whole=True)


def test_a_prefix_is_read_once_for_its_rows(bench: Tiny, corpus: Corpus) -> None:
    model, indices = bench.base.tree(), range(2 * A_PICTURE)
    prefix = len(corpus.prefix(0)[1])
    rest = max(map(corpus.prompt_length, indices)) - prefix

    with read_by(model) as seen:
        said(model, corpus, indices, whole=False)

    assert seen == [(2, prefix), (8, rest), *[(8, 1)] * 5]


def asked_of(corpus: Corpus, count: int) -> ScoreSpec:
    return ScoreSpec(corpus.task.name, "test", count, "", 6, "")


def test_an_evaluation_reads_a_prefix_once_unless_prompts_are_to_be_read_whole(bench: Tiny, corpus: Corpus) -> None:
    model, asked = bench.base.tree(), asked_of(corpus, 2 * A_PICTURE)
    prefix = len(corpus.prefix(0)[1])

    with read_by(model) as seen:
        evaluate(model, corpus, asked, batch_size=8)
    with read_by(model) as whole:
        evaluate(model, corpus, asked, batch_size=8, whole=True)

    assert seen[0] == (2, prefix)
    assert seen[1][0] == whole[0][0] == 8
    assert whole[0][1] > prefix


def test_a_decoder_with_a_window_reads_whole_prompts(bench: Tiny, corpus: Corpus) -> None:
    model: Any = bench.base.tree()
    asked = asked_of(corpus, 2 * A_PICTURE)
    text = model.config.get_text_config()
    for switched_on, rows in ((True, 8), (False, 2)):
        text.sliding_window, text.use_sliding_window = 6, switched_on
        with read_by(model) as seen:
            evaluate(model, corpus, asked, batch_size=8)
        assert seen[0][0] == rows


def test_features_are_taken_once_for_each_prefix(bench: Tiny, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    features = corpus._features

    def noted(indices: Sequence[int]) -> Any:
        asked.append(len(indices))
        return features(indices)

    monkeypatch.setattr(corpus, "_features", noted)

    corpus.prefixed_batch(range(8))

    assert asked == [2]


def test_questions_on_different_pictures_are_read_as_whole_prompts(bench: Tiny) -> None:
    batch, prefixes = bench.test.prefixed_batch(range(6))
    whole = bench.test.prompt_batch(range(6))

    assert prefixes is None
    assert batch.keys() == whole.keys()
    assert all(torch.equal(batch[name], whole[name]) for name in whole)


def test_a_prompt_that_ends_with_its_image_keeps_its_last_token(bench: Tiny) -> None:
    corpus = Corpus(bench.base, Shared(), "test", "{prompt} <image>")

    _, ids = corpus.prefix(0)

    assert len(ids) == corpus.prompt_length(0) - 1


def test_questions_before_the_image_share_a_prefix_only_if_they_are_equal(bench: Tiny) -> None:
    corpus = Corpus(bench.base, Shared(), "test", "{prompt} <image> answer :")
    model = shaken(bench.base.tree())
    indices = [0, 1, 2, 3, 0]

    batch, prefixes = corpus.prefixed_batch(indices)

    assert prefixes is not None
    assert len(prefixes.firsts) == len({corpus.examples[index].question for index in indices})
    with torch.no_grad():
        assert greedy(model, batch, 6, (), prefixes) == said(model, corpus, indices, whole=True)


def test_batches_keep_the_questions_on_one_picture_together(corpus: Corpus) -> None:
    (found,) = batches(corpus, range(12), 64)

    assert [index // A_PICTURE for index in found[::A_PICTURE]] == [index // A_PICTURE for index in found[3::A_PICTURE]]
    longest = [max(corpus.prompt_length(index) for index in found[at : at + A_PICTURE]) for at in (0, 4, 8)]
    assert longest == sorted(longest)


class Many(Shared):
    """More than 64 squares."""

    @override
    def examples(self, split: Split) -> Sequence[Example]:
        several = [item for first in (0, 3000) for item in _examples("train", first)]
        return [replace(item, image=several[at - at % A_PICTURE].image) for at, item in enumerate(several)]


@pytest.mark.parametrize(("size", "count"), [(1, 12), (7, 12), (64, 72)])
def test_answers_are_those_of_whole_prompts(bench: Tiny, size: int, count: int) -> None:
    corpus, model = Corpus(bench.base, Many(), "test", RECIPE.template), shaken(bench.base.tree())
    asked = asked_of(corpus, count)

    with read_by(model) as seen:
        found = evaluate(model, corpus, asked, batch_size=size)

    together = min(size, count)
    assert seen[0][0] == -(-together // A_PICTURE)  # the prefixes of the first batch
    assert found == evaluate(model, corpus, asked, batch_size=7 if size == 1 else size, whole=True)
    assert len({answer.prediction for answer in found}) > 4


@pytest.mark.slow
def test_answers_of_a_model_with_real_proportions_are_those_of_whole_prompts() -> None:
    """A prefix is 611 tokens, of which 576 are the image's."""
    shape = replace(scaled.SHAPE, decoder=replace(scaled.SHAPE.decoder, layers=2))
    asked, drawn = ScoreSpec("questions", "test", 66, "", 2, ""), corpus_of(6, 66, shape)
    model = shaken(drawn.base.model, size=0.05)

    whole = evaluate(model, drawn, asked, batch_size=64, whole=True)

    for size, prefixes in ((64, 11), (7, 2)):
        with read_by(model) as seen:
            assert evaluate(model, drawn, asked, batch_size=size) == whole
        assert seen[0] == (prefixes, scaled.SYSTEM + scaled.IMAGE_TOKENS)
    assert len({answer.prediction for answer in whole}) > 20


def test_a_routed_change_reads_whole_prompts(bench: Tiny, corpus: Corpus) -> None:
    """Its choices depend on the question, so a prefix has no keys and values of its own."""
    torch.manual_seed(0)
    wrapped: Any = insert_routed(bench.base.tree(), RANK, RECIPE, experts=4, depends=False, scores=True, freeze=True)
    change = routed_change(wrapped)
    deltas: Any = {name: delta for name, delta in change.items() if hasattr(delta, "select_a")}
    assert deltas
    asked = replace(bench.asked, count=8)
    with held_live(bench.base.model, deltas), read_by(bench.base.model) as seen:
        evaluate(bench.base.model, corpus, asked, batch_size=8)

    assert seen[0] == (8, max(map(corpus.prompt_length, range(8))))


@pytest.mark.slow
@pytest.mark.parametrize("name", dict.fromkeys((*MICRO.sources, *MICRO.targets)))
def test_answers_to_micros_tasks_are_those_of_whole_prompts(name: str) -> None:
    """Its tasks draw a picture for each question, so four questions in a row are asked about the first one's."""
    base, task = Base.load(MICRO.folder, Form(), torch.device("cpu")), Tasks().load(name)
    corpus = Corpus(base, task, "validation", MICRO.recipe.template)
    whole = list(corpus.examples)
    several = [replace(item, image=whole[at - at % A_PICTURE].image) for at, item in enumerate(whole[:64])]
    corpus = Corpus(base, replaced(task, several), "validation", MICRO.recipe.template)
    asked = ScoreSpec(name, "validation", 64, "", task.answer_tokens, "")

    found = [evaluate(base.model, corpus, asked, batch_size=size) for size in (1, 7, 64)]

    assert found == [evaluate(base.model, corpus, asked, batch_size=size, whole=True) for size in (1, 7, 64)]
    assert len({answer.prediction for answer in found[0]}) > 1


def replaced(task: Task, examples: Sequence[Example]) -> Task:
    """Return a task with other examples."""
    copied = copy.copy(task)
    copied.examples = lambda split: examples  # type: ignore[method-assign]
    return copied
