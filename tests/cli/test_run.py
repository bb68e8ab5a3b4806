"""What ``bench run`` says at its end of the methods that it left out."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.cli import run
from bench.cli.main import main
from bench.cli.options import Cells
from bench.cli.request import read_request
from bench.plan.baselines import make
from bench.plan.plan import Plan
from bench.plan.suite import MICRO
from bench.plugins.groups import GROUPS
from bench.plugins.registry import Registry
from bench.prepare.price import fitting, others
from bench.prepare.price.rates import Fleet, GpuModel
from bench.store.run_folder import Store
from tests.making.commands import typed


@pytest.fixture
def _instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Carry nothing out except the end of the run, and name the addition by its methods."""

    def carry_out(steps: run.RunSteps, options: run.RunOptions, cells: Cells, registry: Registry) -> int:
        store = options.store()
        steps.end(steps.plan(read_request(cells, options.output, registry), store), store)
        return 0

    def addition(paper: Plan, every: Plan, *_: object) -> str:
        return f"more: {len(every.request.methods) > len(paper.request.methods)}"

    monkeypatch.setattr(run, "carry_out", carry_out)
    monkeypatch.setattr(others, "addition", addition)


@pytest.mark.usefixtures("_instant")
@pytest.mark.parametrize("words", [[], ["--methods", "paper"]])
def test_a_run_of_the_papers_methods_says_what_all_adds(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *words, "--output", str(tmp_path)]) == 0

    assert "more: True" in capsys.readouterr().err


@pytest.mark.usefixtures("_instant")
@pytest.mark.parametrize("methods", ["all", "paper,lines"])
def test_another_run_does_not_say_it(methods: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--methods", methods, "--output", str(tmp_path)]) == 0

    assert capsys.readouterr().err == ""


def test_a_dry_run_does_not_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--dry-run", "--output", str(tmp_path)]) == 0

    assert "--methods all" not in capsys.readouterr().err


@pytest.mark.usefixtures("_instant")
def test_if_a_search_lacks_a_method_of_all_the_run_ends_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = json.loads(Path(str(MICRO.tuned)).read_text(encoding="utf-8"))
    known = [row for row in shipped["chosen"] if row["method"] != "lines"]
    reasons = {"l2": "it is tried here"}
    file = tmp_path / "search.json"
    file.write_text(json.dumps({"chosen": known, "left_out": reasons}), encoding="utf-8")

    assert main(["run", "--tuned", str(file), "--output", str(tmp_path / "runs")]) == 0

    untuned, last = capsys.readouterr().err.splitlines()
    assert last.startswith(
        "--methods all is not possible with the same options: --tuned finds no configuration of lines"
    )
    assert untuned == "--tuned: l2 runs untuned, because it is tried here."  # once: the second request is silent


@pytest.mark.usefixtures("_instant")
def test_if_a_method_of_all_refuses_the_base_the_run_ends_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "bitsandbytes" or find(name))

    assert main(["run", "--base", "4bit", "--output", str(tmp_path)]) == 0

    (last,) = capsys.readouterr().err.splitlines()
    assert last.startswith("--methods all is not possible with the same options: mixlora cannot train on 4-bit weights")


@pytest.mark.slow
def test_a_run_ends_with_what_it_says_on_the_plan_that_was_carried_out(
    one_mlflow: None, tiny_words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []

    def addition(paper: Plan, every: Plan, *_: object) -> str:
        told.append(not paper.pending and every.request.tasks is paper.request.tasks)
        return "the last line"

    monkeypatch.setattr(others, "addition", addition)
    monkeypatch.setitem(GROUPS, "paper", lambda registry: ("lora", "dare"))  # type: ignore[misc]

    assert main(["run", "--methods", "paper", *tiny_words, "--lanes", "0"]) == 0

    assert capsys.readouterr().err.splitlines()[-1] == "the last line"
    assert told == [True]


UNTEACHABLE = """

def examples(self, split):
    from dataclasses import replace
    first, *rest = Squares.examples(self, split)
    return [replace(first, question="what color is it? " * 500) if split == "train" else first, *rest]

Old.examples = examples
"""


@pytest.fixture
def _unstarted(tiny_tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no trial, and let a training example of the source leave no room for its answer."""
    tiny_tasks.write_text(tiny_tasks.read_text(encoding="utf-8") + UNTEACHABLE, encoding="utf-8")
    monkeypatch.setattr(run, "finish", lambda made, again, perform: again())


@pytest.mark.usefixtures("_unstarted", "one_mlflow")
def test_the_control_replay_is_left_out_if_an_example_of_a_source_cannot_be_taught(
    tiny_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["run", "--methods", "lora", "--baselines", *tiny_words, "--lanes", "0"])

    lines = capsys.readouterr().err.splitlines()
    (note,) = [line for line in lines if line.startswith("lora replay is left out: ")]
    assert "replay trains on examples of every source. old_squares: " in note
    assert "leaves no room for its answer" in note
    assert [line for line in lines if line.startswith("failed: lora-")]  # every trial that did not run is listed
    assert not [line for line in lines if line.startswith("failed: replay-")]
    assert not (tmp_path / "runs" / "data" / "old_squares-train.json").exists()


@pytest.mark.usefixtures("_unstarted", "one_mlflow")
@pytest.mark.parametrize("more", [[], ["--baselines"]])
def test_the_method_replay_is_refused_before_a_trial_starts(
    more: list[str], tiny_words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--methods", "replay", *more, *tiny_words, "--lanes", "0"]) != 0

    error = capsys.readouterr().err
    assert "old_squares: " in error
    assert "leaves no room for its answer" in error
    assert "left out" not in error


@pytest.mark.usefixtures("_unstarted", "one_mlflow")
def test_the_control_replay_stays_if_such_examples_may_be_skipped(
    tiny_words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["run", "--methods", "lora", "--baselines", "--skip-bad", "1", *tiny_words, "--lanes", "0"])

    error = capsys.readouterr().err
    assert "left out" not in error
    assert "failed: replay-" in error


@pytest.mark.slow
def test_auto_chooses_the_blocks_before_the_first_trial_and_the_trial_is_the_same(
    tiny_words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "here", lambda: Fleet(GpuModel("odd", 1, None), 1))  # with a memory of one byte
    auto, one = (
        typed(run.RunOptions, "--methods", "lora", *tiny_words, "--lanes", "0", "--gradient-checkpointing", word)
        for word in ("auto", "1")
    )
    store = auto.store()
    mirror: Any = SimpleNamespace(take=lambda record: None)

    with store.locked():
        run._perform(auto, make(read_request(auto, auto.output), store), store, auto.launch(), mirror)

    assert "--gradient-checkpointing auto: every block is checkpointed." in capsys.readouterr().err
    trained = [record for record in store.records() if record.trial.rank is not None]
    assert [record.environment["plain_blocks"] for record in trained] == ["0"]
    assert make(read_request(one, one.output), Store(store.root)).pending == ()
