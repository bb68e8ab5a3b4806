from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.store.unfinished import Partial

HERE = {"dtype": "float32"}


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    return tmp_path / "scores" / "0123.jsonl"


def test_predictions_come_back_with_the_time_they_took(scores: Path) -> None:
    killed = Partial(scores, HERE)
    killed.keep({0: "red", 5: "blü\nblue"}, 2.0)
    killed.keep({3: ""}, 0.5)

    resumed = Partial(scores, HERE)

    assert resumed.predictions == {0: "red", 5: "blü\nblue", 3: ""}
    assert resumed.seconds == 2.5
    assert not scores.exists()


def test_a_torn_last_line_is_ignored_and_the_next_one_stands_alone(scores: Path) -> None:
    Partial(scores, HERE).keep({0: "red"}, 1.0)
    with (scores.parent / "0123.part-0.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"seconds": 1.0, "predictions": {"1": "bl')

    resumed = Partial(scores, HERE)
    resumed.keep({2: "green"}, 1.0)

    assert Partial(scores, HERE).predictions == {0: "red", 2: "green"}


@pytest.mark.parametrize(
    "line", ["nonsense", "[]", '"text"', '{"seconds": 1}', '{"seconds": 1, "predictions": {"x": "y"}}', "\x00\xff"]
)
def test_a_damaged_line_loses_its_own_batch_and_no_other(scores: Path, line: str) -> None:
    partial = Partial(scores, HERE)
    partial.keep({0: "red"}, 1.0)
    own = scores.parent / "0123.part-0.jsonl"
    own.write_text(own.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    Partial(scores, HERE).keep({2: "green"}, 1.0)

    assert Partial(scores, HERE).predictions == {0: "red", 2: "green"}


@pytest.mark.parametrize("first", ['{"environment": {"dtype": "float16"}}', "nonsense", "", '{"environment": {}}'])
def test_what_was_generated_otherwise_is_not_mixed_in_but_replaced(scores: Path, first: str) -> None:
    scores.parent.mkdir()
    own = scores.parent / "0123.part-0.jsonl"
    own.write_text(first + "\n" + json.dumps({"seconds": 1.0, "predictions": {"0": "red"}}) + "\n", encoding="utf-8")

    partial = Partial(scores, HERE)
    before = dict(partial.predictions)
    partial.keep({1: "blue"}, 1.0)

    assert before == {}
    assert Partial(scores, HERE).predictions == {1: "blue"}


def test_workers_write_apart_and_read_together(scores: Path) -> None:
    one, other = Partial(scores, HERE, rank=0), Partial(scores, HERE, rank=1)
    one.keep({0: "a"}, 3.0)
    other.keep({1: "b"}, 2.0)
    one.keep({2: "c"}, 3.0)

    alone = Partial(scores, HERE)

    assert alone.predictions == {0: "a", 1: "b", 2: "c"}
    assert alone.seconds == 6.0  # the two worked at once


def test_whoever_watches_hears_how_many_there_are(scores: Path) -> None:
    heard: list[int] = []
    Partial(scores, HERE).keep({0: "a", 1: "b"}, 1.0)

    Partial(scores, HERE, watch=heard.append).keep({2: "c"}, 1.0)

    assert heard == [2, 3]


def test_what_is_removed_is_gone_and_no_other_score(scores: Path) -> None:
    for rank in (0, 1):
        Partial(scores, HERE, rank).keep({rank: "a"}, 1.0)
    other = Partial(scores.with_name("4567.jsonl"), HERE)
    other.keep({0: "a"}, 1.0)

    Partial(scores, HERE).remove()

    assert [path.name for path in scores.parent.iterdir()] == ["4567.part-0.jsonl"]
