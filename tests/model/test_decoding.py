from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.checks.tiny import Tiny, tiny
from bench.errors import TrialError
from bench.model.decoding import end_tokens, greedy
from bench.model.resident import Base, Form
from bench.plan.suite import MICRO
from bench.plugins.tasks import Tasks
from bench.trial.corpus import Corpus

NEVER: frozenset[int] = frozenset()


@pytest.fixture(scope="module")
def bench() -> Tiny:
    return tiny()


def ours(corpus: Corpus, indices: Sequence[int], most: int, ends: Collection[int]) -> list[list[int]]:
    with torch.no_grad():
        return greedy(corpus.base.model, corpus.prompt_batch(indices), most, ends)


def theirs(corpus: Corpus, indices: Sequence[int], most: int, ends: Sequence[int]) -> list[list[int]]:
    """What transformers generates, cut at the first end token."""
    batch = corpus.prompt_batch(indices)
    model: Any = corpus.base.model
    tokens = model.generate(
        **batch, do_sample=False, num_beams=1, max_new_tokens=most, eos_token_id=list(ends) or None, pad_token_id=0
    )
    said = tokens[:, batch["input_ids"].shape[1] :].tolist()
    return [row[: next((place for place, token in enumerate(row) if token in ends), len(row))] for row in said]


@contextmanager
def sizes_of(model: nn.Module) -> Iterator[list[tuple[int, ...]]]:
    """Note the shape of every batch of tokens that the model is given."""
    seen: list[tuple[int, ...]] = []

    def note(_: nn.Module, __: object, inputs: dict[str, Tensor]) -> None:
        seen.append(tuple(inputs["input_ids"].shape))

    hook = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        hook.remove()


def test_rows_that_never_end_stop_at_the_most_tokens_as_in_transformers(bench: Tiny) -> None:
    everything = range(len(bench.test.examples))

    said = ours(bench.test, everything, 6, NEVER)

    assert {len(row) for row in said} == {6}
    assert said == theirs(bench.test, everything, 6, ())


def test_rows_end_one_by_one_as_in_transformers(bench: Tiny) -> None:
    everything = range(len(bench.test.examples))
    free = ours(bench.test, everything, 6, NEVER)
    assert len({len(bench.test.prompt_batch([index])["input_ids"][0]) for index in everything}) > 1  # padded
    tried = 0
    for place in range(6):
        ends = sorted({row[place] for row in free[::2]})  # every other row ends by then

        said = ours(bench.test, everything, 6, ends)

        assert said == theirs(bench.test, everything, 6, ends)
        tried += len({len(row) for row in said}) > 1
    assert tried > 1


def test_a_row_alone_is_as_in_transformers(bench: Tiny) -> None:
    for index in range(4):
        (free,) = ours(bench.test, [index], 6, NEVER)

        assert ours(bench.test, [index], 6, free[3:4]) == theirs(bench.test, [index], 6, free[3:4])


def test_an_end_at_once_leaves_nothing_and_asks_the_model_once(bench: Tiny) -> None:
    first = {row[0] for row in ours(bench.test, range(5), 1, NEVER)}

    with sizes_of(bench.base.model) as seen:
        said = ours(bench.test, range(5), 6, first)

    assert said == [[]] * 5
    assert len(seen) == 1


def test_a_row_that_has_ended_leaves_the_batch(bench: Tiny) -> None:
    free = ours(bench.test, range(8), 4, NEVER)
    ends = {free[0][1]}

    with sizes_of(bench.base.model) as seen:
        said = ours(bench.test, range(8), 4, ends)

    going = [sum(len(row) >= tokens for row in said) for tokens in range(1, 4)]
    assert [shape[0] for shape in seen] == [8, *(count for count in going if count)]
    assert all(shape[1] == 1 for shape in seen[1:])  # the prompt goes through once
    assert seen[2][0] < 8


def test_end_tokens_may_be_several_one_or_the_tokenizers(bench: Tiny) -> None:
    model: Any = bench.base.model
    tokenizer = bench.base.processor.tokenizer
    before = model.generation_config.eos_token_id
    found = []
    try:
        for value in (7, [7, 9], None):
            model.generation_config.eos_token_id = value
            found.append(end_tokens(model, tokenizer))
    finally:
        model.generation_config.eos_token_id = before

    assert found == [{7}, {7, 9}, {tokenizer.eos_token_id}]


def test_answers_of_micro_are_as_in_transformers() -> None:
    base = Base.load(MICRO.folder, Form(), torch.device("cpu"))
    ends = sorted(end_tokens(base.model, base.processor.tokenizer))
    for name in (MICRO.sources[0], MICRO.targets[-1]):
        task = Tasks().load(name)
        corpus = Corpus(base, task, "validation", MICRO.recipe.template)

        said = ours(corpus, range(24), task.max_new_tokens, ends)

        assert said == theirs(corpus, range(24), task.max_new_tokens, ends)
        assert len({len(row) for row in said}) > (name == MICRO.targets[-1])


def test_logits_that_are_not_finite_give_no_answer() -> None:
    bench = tiny()
    with torch.no_grad():
        bench.base.model.get_parameter("lm_head.weight")[5, 0] = float("nan")

    with pytest.raises(TrialError, match=r"logits are not finite"):
        ours(bench.test, [0, 1], 3, NEVER)
