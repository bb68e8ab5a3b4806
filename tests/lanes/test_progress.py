from __future__ import annotations

import pytest

from bench.lanes.broker import Event
from bench.lanes.progress import Progress, closing_line, pace, rate
from bench.values.record import Record
from bench.values.scores import Score, ScoreSpec
from tests.making.trials import TRIAL

FAILED = Record(TRIAL, "failed", error="out of memory")


def score(task: str, count: int, seconds: float) -> Score:
    return Score(ScoreSpec(task, "test", count, "", 4, ""), "exact", {"exact": 1.0}, "", seconds)


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
    monkeypatch.setattr("rich.console.monotonic", lambda: now)
    drawn = Progress(None)

    def at(seconds: float, stage: str, step: int, trial: str = "t") -> tuple[str, float, str]:
        nonlocal now
        now = seconds
        drawn.take(Event("progress", trial, 0, stage, step, 1000, 0.5, label="lora"))
        lane = drawn._bar.tasks[1]
        return lane.description, lane.completed, lane.fields["detail"]

    assert at(0.0, "train", 900) == ("lane 0: lora · train", 900, "loss 0.500")
    assert at(10.0, "evaluate", 200) == ("lane 0: lora · evaluate", 200, "")
    assert at(14.0, "evaluate", 300) == ("lane 0: lora · evaluate", 300, "25 examples/s")
    assert at(20.0, "evaluate", 0, "u") == ("lane 0: lora · evaluate", 0, "")
    assert at(22.0, "evaluate", 64, "u") == ("lane 0: lora · evaluate", 64, "32 examples/s")


def test_the_time_left_follows_from_the_trials_that_ended_since_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("rich.console.monotonic", lambda: now)
    drawn = Progress(total=10, done=4)
    trials = drawn._bar.tasks[0]

    assert trials.time_remaining is None
    for moment in (100.0, 200.0):
        now = moment
        drawn.take(Event("failed", f"t{moment}", 0, label="lora"))
    assert trials.time_remaining == 400


def test_the_time_left_counts_the_steps_of_running_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("rich.console.monotonic", lambda: now)
    drawn = Progress(3, 0, {"lora": (900, 100), "dora": (900, 100), "dare": (0, 100)})
    trials = drawn._bar.tasks[0]

    def at(seconds: float, kind: str, trial: str, stage: str = "", step: int = 0) -> float | None:
        nonlocal now
        now = seconds
        drawn.take(Event(kind, trial, 0, stage, step, 10, 0.5, label=trial))  # type: ignore[arg-type]
        return trials.time_remaining

    assert at(0.0, "started", "lora") is None
    assert at(9.0, "progress", "lora", "train", 1) == 201  # 90 of 2,100 examples in 9 seconds
    assert at(20.0, "progress", "lora", "evaluate", 10) == 22  # 1,000 of 2,100 in 20 seconds
    assert at(20.0, "progress", "lora", "train", 1) == 22  # a restarted trial takes nothing back
    assert trials.fields["count"] == "0/3"
    assert at(20.0, "done", "lora") == 22
    assert trials.fields["count"] == "1/3"


def test_the_time_left_of_a_search_counts_the_steps_of_trials_that_share_a_label(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("rich.console.monotonic", lambda: now)
    drawn = Progress(3, 0, {"lora": (900, 100)}, 3000)
    trials = drawn._bar.tasks[0]

    def at(seconds: float, kind: str, trial: str, stage: str = "", step: int = 0) -> float | None:
        nonlocal now
        now = seconds
        drawn.take(Event(kind, trial, 0, stage, step, 10, 0.5, label="lora"))  # type: ignore[arg-type]
        return trials.time_remaining

    assert at(0.0, "started", "a") is None
    assert at(9.0, "progress", "a", "train", 1) == 291  # 90 of 3,000 examples in 9 seconds, before any trial ends
    assert at(20.0, "stopped", "a") == 40  # a training that was stopped early has nothing left
    assert at(20.0, "progress", "b", "train", 5) == 22
    assert trials.fields["count"] == "1/3"


def test_off_a_terminal_a_run_is_one_line_a_finished_trial(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(total=3, done=1) as drawn:
        drawn.take(Event("started", "t", 0, label="lora"))
        drawn.take(Event("progress", "t", 0, "train", 5, 10, 0.5, label="lora"))
        drawn.take(Event("stopped", "t", 0, label="lora"))
        drawn.take(Event("failed", "u", 0, record=FAILED, label="dora"))

    assert capsys.readouterr().err == f"[2/3]  lora stopped early\n[3/3]  {FAILED.trial.label} FAILED: out of memory\n"


def test_on_a_terminal_every_running_lane_has_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Progress(total=3) as drawn:
        drawn.take(Event("progress", "t", 0, "train", 5, 10, 0.5, label="lora"))
        drawn.take(Event("started", "u", 1, label="dora"))

    drawn_text = capsys.readouterr().err
    assert "lane 0: lora" in drawn_text
    assert "lane 1: dora" in drawn_text
