"""The probe: short, real, and thrown away except its speed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.cli.main import main
from bench.prepare.price import probe
from bench.values.job import Job
from bench.values.recipe import Recipe
from bench.values.record import Cost, Record
from bench.values.trial import Trial

RECIPE = Recipe(updates=24, batch_size=8, lr=1e-3, connector_lr=1e-4)
TRIAL = Trial("lora", {}, 2, "squares", 0, RECIPE, "", "", "")


class Clockwork:
    """A bench whose first four updates take 10 s each and the others 2 s."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, status: str = "done") -> None:
        self.now = 0.0
        self.status = status
        monkeypatch.setattr("bench.prepare.price.probe.time.monotonic", lambda: self.now)

    def run(self, job: Job, progress: Callable[..., None]) -> Record:
        for index in range(job.trial.recipe.updates):
            progress("evaluate", 0, 1, 0.0)
            self.now += 10.0 if index < 4 else 2.0
            progress("train", index + 1, job.trial.recipe.updates, 0.0)
        return Record(job.trial, self.status, cost=Cost(), error="no memory")  # type: ignore[arg-type]


def test_the_first_updates_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    runner: Any = Clockwork(monkeypatch)

    assert probe._updates(runner, TRIAL) == pytest.approx(8 / 2)


def test_a_method_that_fails_is_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runner: Any = Clockwork(monkeypatch, "failed")

    assert probe._updates(runner, TRIAL) is None
    assert "lora: not probed: no memory" in capsys.readouterr().err


@pytest.mark.slow
def test_a_probe_measures_every_training_method_and_prices_with_it(
    tiny_suite: object, tiny_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "plan",
        "--suite",
        "tiny",
        "--plugin",
        str(tiny_tasks),
        "--ranks",
        "2",
        "--methods",
        "lora,l2,dare",
        "--output",
        str(tmp_path),
    ]

    assert main([*words, "--probe"]) == 0

    found = json.loads((tmp_path / "probe.json").read_text(encoding="utf-8"))
    assert set(found["train"]) == {"lora", "l2"}
    assert min(*found["train"].values(), found["answer"]) > 0
    assert not list(tmp_path.glob("*/record.json"))
    assert f"(measured: 20 updates per method and {found['answers']} answers on cpu)" in capsys.readouterr().out
    assert main(words) == 0  # from the run folder, from now on
    assert "measured: 20 updates" in capsys.readouterr().out


def test_a_probe_says_what_it_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--suite", "lorasculpt", "--data", str(tmp_path), "--output", str(tmp_path), "--probe"]

    assert main(words) == 2
    assert "--probe cannot run, because this machine lacks data of iconqa" in capsys.readouterr().err


def test_a_budget_needs_a_rate_and_a_number(
    tiny_suite: object, tiny_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["plan", "--suite", "tiny", "--plugin", str(tiny_tasks), "--ranks", "2", "--output", str(tmp_path)]

    assert main([*words, "--budget", "40h"]) == 2
    assert "--budget needs a rate" in capsys.readouterr().err
    for text in ("soon", "0", "-1h", "inf"):
        assert main([*words, f"--budget={text}"]) == 2
        assert f"--budget is {text!r}; give GPU-hours" in capsys.readouterr().err


def test_probe_trials_are_short_and_at_the_largest_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [replace(TRIAL, rank=rank) for rank in (2, 8, 4)]

    part = replace(TRIAL, rank=16, recipe=replace(RECIPE, adapt="attention"))  # a control, which adapts other layers

    class Plan:
        trainings = tuple(Job(trial, ()) for trial in (*trials, part))
        request = SimpleNamespace(recipe=RECIPE, ranks=(2, 4, 8))

    class Found:
        plan = Plan

    (chosen,) = probe._trials(Found)  # type: ignore[arg-type]

    assert (chosen.rank, chosen.recipe.updates) == (8, 24)
