from __future__ import annotations

from pathlib import Path

from bench.store.unfinished import Partial

HERE = {"dtype": "float16"}


def test_predictions_come_back_from_wherever_they_are_and_can_be_removed(root: Path) -> None:
    scores = root / "trial" / "scores" / "0123.jsonl"
    Partial(scores, HERE).keep({0: "red"}, 1.0)
    Partial(scores, HERE).keep({1: "blue"}, 1.0)
    Partial(scores, HERE, rank=1).keep({2: "green"}, 1.0)

    resumed = Partial(scores, HERE)

    assert resumed.predictions == {0: "red", 1: "blue", 2: "green"}
    resumed.remove()
    assert Partial(scores, HERE).predictions == {}
