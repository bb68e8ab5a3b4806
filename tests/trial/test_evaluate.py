from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
import torch

from bench.checks.tiny import Tiny, tiny
from bench.errors import TrialError
from bench.model.decoding import greedy
from bench.store.unfinished import Partial
from bench.trial import evaluate as module
from bench.trial.evaluate import Answer, batches, evaluate
from bench.trial.workers import Group
from tests.making.waiting import PATIENCE_SECONDS


class Threads(Group):
    """One of several workers of a test, each in a thread of its own."""

    def __init__(self, rank: int, size: int, barrier: Barrier, table: dict[int, Any]) -> None:
        self.rank, self.size = rank, size
        self._barrier, self._table = barrier, table

    def gather(self, value: Any) -> list[Any]:
        self._table[self.rank] = value
        self._barrier.wait(PATIENCE_SECONDS)
        return [self._table[rank] for rank in range(self.size)]


@pytest.fixture
def bench() -> Tiny:
    return tiny()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The batches that the model was asked, as they come."""
    seen: list[tuple[int, ...]] = []
    answer = module.answer

    def noted(model: Any, corpus: Any, indices: Sequence[int], *rest: Any, **more: Any) -> list[str]:
        seen.append(tuple(indices))
        return answer(model, corpus, indices, *rest, **more)

    monkeypatch.setattr(module, "answer", noted)
    return seen


def run(bench: Tiny, **options: Any) -> list[Answer]:
    return evaluate(bench.base.model, bench.test, bench.asked, batch_size=5, **options)


def test_batches_hold_every_example_once_shorter_prompts_first(bench: Tiny) -> None:
    found = batches(bench.test, range(12), 5)

    places = [place for batch in found for place in batch]
    lengths = [bench.test.prompt_length(place) for place in places]
    assert [len(batch) for batch in found] == [5, 5, 2]
    assert sorted(places) == list(range(12))
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 1


def test_a_batch_that_does_not_fit_in_memory_is_answered_in_halves(
    bench: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alone, sizes = run(bench), list[int]()

    def crowded(model: Any, batch: Any, *rest: Any) -> list[list[int]]:
        sizes.append(len(batch["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return greedy(model, batch, *rest)

    monkeypatch.setattr(module, "greedy", crowded)

    partial = Partial(tmp_path / "k.jsonl")

    assert run(bench, partial=partial) == alone
    assert sizes == [5, 2, 3, 1, 2] * 2 + [2]
    assert partial.smallest == [1]
    assert Partial(tmp_path / "k.jsonl").smallest == [1]  # a resumed evaluation knows
    assert "5 answers at once do not fit in memory; they are generated in halves. See --eval-batch." in caplog.text


def test_one_answer_that_does_not_fit_in_memory_says_so(bench: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def crowded(*_: Any) -> list[list[int]]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "greedy", crowded)

    with pytest.raises(TrialError, match="One answer alone does not fit in memory"):
        run(bench)


@pytest.mark.parametrize("size", [2, 5])
def test_several_workers_share_the_batches_of_one_and_all_have_its_outcome(
    bench: Tiny, asked: list[tuple[int, ...]], size: int
) -> None:
    alone = run(bench)
    whole, found = list(asked), {}
    asked.clear()
    barrier, table = Barrier(size), dict[int, Any]()

    def work(rank: int) -> None:
        found[rank] = run(bench, group=Threads(rank, size, barrier, table))

    threads = [Thread(target=work, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [found[rank] for rank in range(size)] == [alone] * size
    assert sorted(asked) == sorted(whole)


def test_the_first_of_several_workers_scores_for_all(bench: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = run(bench)

    class Second(Group):
        """A worker whose peer has answered everything, and scored it."""

        rank, size = 1, 2

        def gather(self, value: Any) -> list[Any]:
            return [({place: one.prediction for place, one in enumerate(alone)}, set()), value]

        def first(self, call: Any) -> Any:
            return alone

    def refused(*_: object) -> Any:
        raise AssertionError("scored twice")

    monkeypatch.setattr(bench.test.task, "score", refused)

    assert run(bench, group=Second()) is alone


def test_what_an_earlier_attempt_left_is_not_asked_again(
    bench: Tiny, asked: list[tuple[int, ...]], tmp_path: Path
) -> None:
    alone = run(bench)
    first, second, third = asked
    asked.clear()
    Partial(tmp_path / "k.jsonl").keep({place: alone[place].prediction for place in second}, 1.0)

    resumed = run(bench, partial=Partial(tmp_path / "k.jsonl"))

    assert resumed == alone
    assert asked == [first, third]


def test_a_damaged_batch_is_asked_again_for_what_is_missing_of_it(
    bench: Tiny, asked: list[tuple[int, ...]], tmp_path: Path
) -> None:
    alone = run(bench)
    first, _, third = asked
    asked.clear()
    Partial(tmp_path / "k.jsonl").keep({place: alone[place].prediction for place in (*first[1:], *third)}, 1.0)

    resumed = run(bench, partial=Partial(tmp_path / "k.jsonl"))

    assert resumed == alone
    assert asked[0] == first[:1]
