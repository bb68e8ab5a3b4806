from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.checks.tiny import RECIPE
from bench.cli import main
from bench.plan.plan import make
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.store.run_folder import Store
from bench.trial import parity
from bench.trial.evaluate import evaluate
from bench.trial.parity import Difference
from bench.trial.runner import TrialRunner
from bench.values.record import Record
from bench.values.scores import ScoreSpec
from bench.values.trial import Trial

TRIAL = Trial("lora", {}, 2, "easy_vqa", 0, RECIPE, "m", "d", "c")


@pytest.mark.slow
def test_what_the_command_finds_of_a_trial_is_kept_and_shown(
    tiny_installed: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, suite = Store(tmp_path / "runs"), tiny_installed
    request = Request(suite, ("lora",), (2,), suite.targets, suite.sources, suite.recipe)
    job = next(job for job in make(request, store).jobs if job.trial.method == "lora")
    store.prepare()
    TrialRunner(store, suite.folder, request.tasks).run(job)
    words = ["check", "eval", "--suite", "tiny", "--limit", "7", "--batch", "3", "--output", str(store.root)]

    assert main.main([*words, "--trial", "lora"]) == 0
    assert main.main(words) == 0
    printed = capsys.readouterr().out
    assert main.main(["show", "lora", "--output", str(store.root)]) == 0

    shown = capsys.readouterr().out
    found = parity.read(store)
    assert len(found) == 2
    own = found[job.trial.id]
    assert {item.task for item in own.differences} == {"old_squares", "new_squares"}
    assert Difference("batch 1 against 3, float32", "new_squares", 7, 0, 0.0) in own.differences
    assert Difference("adapter against merged, float32", "old_squares", 7, 0, 0.0) in own.differences
    for line in parity.lines(own):
        assert line in printed
        assert line in shown


def test_whole_prompts_are_read_where_the_command_says_so(
    tiny_installed: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, bool, int]] = []

    def noted(model: Any, corpus: Any, asked: ScoreSpec, *, batch_size: int, whole: bool, **more: Any) -> Any:
        read.append((str(next(model.parameters()).dtype), whole, batch_size))
        return evaluate(model, corpus, asked, batch_size=batch_size, whole=whole, **more)

    monkeypatch.setattr("bench.trial.scoring.evaluate", noted)

    assert main.main(["check", "eval", "--suite", "tiny", "--limit", "2", "--batch", "2"]) == 0

    for dtype in ("torch.float32", "torch.bfloat16", "torch.float16"):
        assert (dtype, True, 2) in read
        assert (dtype, False, 2) in read


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--batch", "1"], "--batch is 1"),
        (["--trial", "lora"], "Name it with --output"),
        (["--limit", "0"], "--limit has 0"),
        (["--output", "nowhere"], "no run folder nowhere"),
    ],
)
def test_what_cannot_be_compared_is_refused(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["check", "eval", *words]) == 2

    assert reason in capsys.readouterr().err


def test_options_of_the_comparison_are_refused_if_plugins_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["check", "lora", "--batch", "64"]) == 2

    assert "--batch is an option of bench check eval" in capsys.readouterr().err


def test_a_trial_of_another_base_model_is_refused(
    tiny_installed: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store(tmp_path).write(Record(TRIAL, "done"))

    assert main.main(["check", "eval", "--suite", "tiny", "--output", str(tmp_path), "--trial", TRIAL.id]) == 2
    assert "was run with another base model" in capsys.readouterr().err
