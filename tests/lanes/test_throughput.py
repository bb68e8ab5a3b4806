from __future__ import annotations

import pytest

from bench.lanes.broker import Event
from bench.lanes.progress import Progress
from bench.lanes.throughput import closing_line, pace, rate
from bench.spec import Asked, Score


def score(task: str, count: int, seconds: float) -> Score:
    return Score(Asked(task, "test", count, "", 4, ""), "exact", {"exact": 1.0}, "", seconds)


def test_rates_are_printed_with_three_digits() -> None:
    assert [rate(count, 10.0) for count in (2, 123, 994, 996, 1234567)] == ["0.2", "12.3", "99.4", "100", "123,457"]


def test_a_score_of_before_seconds_were_noted_has_no_pace() -> None:
    assert pace(score("a", 50, 2.0)) == "25 examples/s"
    assert pace(score("a", 50, 0.0)) is None


def test_the_closing_line_adds_up_tasks_and_leaves_out_what_has_no_seconds() -> None:
    scores = [score("gqa", 100, 2.0), score("okvqa", 10, 4.0), score("gqa", 100, 2.0), score("gqa", 999, 0.0)]

    assert closing_line(scores) == "evaluated 210 examples in 8.0 s: 26.2 examples/s (gqa 50, okvqa 2.5)"
    assert closing_line(scores[:1]) == "evaluated 100 examples in 2.0 s: 50 examples/s"
    assert closing_line(scores[3:]) is None


def test_the_pace_of_a_lane_counts_from_what_an_earlier_attempt_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("bench.lanes.progress.time.monotonic", lambda: now)
    drawn = Progress(None)

    def at(seconds: float, stage: str, step: int, trial: str = "t") -> str:
        nonlocal now
        now = seconds
        drawn.take(Event("progress", trial, 0, stage, step, 1000, 0.5, label="lora"))
        return str(drawn._status()).splitlines()[-1].strip()

    assert at(0.0, "train", 900) == "lane 0: lora · train 900/1000 · loss 0.500"
    assert at(10.0, "evaluate", 200) == "lane 0: lora · evaluate 200/1000"
    assert at(14.0, "evaluate", 300) == "lane 0: lora · evaluate 300/1000 · 25 examples/s"
    assert at(20.0, "evaluate", 0, "u") == "lane 0: lora · evaluate 0/1000"
    assert at(22.0, "evaluate", 64, "u") == "lane 0: lora · evaluate 64/1000 · 32 examples/s"
