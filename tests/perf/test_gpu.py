"""The script for a GPU day: it runs on any device, stops in time, and its file is always whole."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import TrialError
from bench.model.four_bit import NEEDED
from bench.plugins.groups import paper_methods
from bench.plugins.method import TrainMethod
from bench.plugins.registry import Registry
from bench.trial.evaluate import evaluate
from tests.perf.gpu import measure
from tests.perf.gpu.clock import WARM, Clock, TimeUp, Updates
from tests.perf.gpu.items import Item, answers, edited, items, update
from tests.perf.gpu.measure import Measurement
from tests.perf.gpu.model import ANSWERS, RECIPE, Subject
from tests.perf.gpu.table import rows

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
UP = Clock(60.0, 0.0, lambda: 61.0)  # its time is up
SHORT = replace(RECIPE, updates=2, batch_size=3)
TRAINED = [name for name in Registry().names("method") if issubclass(Registry().method(name), TrainMethod)]

Measured = dict[str, Any]


@dataclass(slots=True)
class Hands:
    """The time of a clock that goes only when a test moves it."""

    at: float = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture(scope="module")
def subject() -> Subject:
    """The tiny model; one for all tests, because every item leaves it as it was."""
    return Subject.of(CPU, small=True)


@pytest.fixture
def run(tmp_path: Path, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Measured]:
    """Return a function that measures items on the shared model and returns what the file holds."""
    monkeypatch.setattr(Subject, "of", lambda device, small: subject)

    def run(*chosen: Item, minutes: float = 5.0) -> Measured:
        clock = Clock(60 * minutes, 0.0, Hands())
        Measurement(tmp_path / "gpu.json", CPU, clock, small=True).run(chosen)
        return _file(tmp_path / "gpu.json")

    return run


def _file(path: Path) -> Measured:
    found: Measured = json.loads(path.read_text(encoding="utf-8"))
    return found


def _raising(error: BaseException) -> Callable[[Subject, Clock], Any]:
    def measured(subject: Subject, clock: Clock) -> Any:
        raise error

    return measured


def test_the_items_come_in_the_order_of_their_worth() -> None:
    names = [item.name for item in items()]

    paper = {name for name in paper_methods(Registry()) if name in TRAINED}
    assert names[:3] == ["lora", "dora", "lorasculpt"]
    assert {*names[: len(paper)]} == paper
    assert {*names[: len(TRAINED)]} == {*TRAINED}
    assert names[len(TRAINED) :] == ["answers", "edit", "4bit"]


def test_training_stops_between_two_updates_when_the_time_is_up() -> None:
    watch = Updates(CPU, UP)

    with pytest.raises(TimeUp):
        watch(1, 20, 2.0)

    assert watch.losses == [2.0]
    assert watch.to_json() == {"updates": 1}


def test_the_last_update_is_never_cut_off() -> None:
    watch = Updates(CPU, UP)

    watch(20, 20, 2.0)

    assert watch.losses == [2.0]


def test_warm_up_updates_count_only_if_there_are_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = iter([0.0, 10.0, 20.0, 30.0, 31.0, 33.0])
    monkeypatch.setattr("tests.perf.gpu.clock.time.perf_counter", lambda: next(stamps))
    watch = Updates(CPU, Clock(1e6))
    for index in range(1, WARM + 1):
        watch(index, 20, 1.0)
    assert watch.seconds == [10.0, 10.0, 10.0]

    watch(5, 20, 1.0)
    watch(6, 20, 1.0)

    assert watch.seconds == [1.0, 2.0]
    assert watch.to_json()["update_seconds"] == 1.5


@pytest.mark.slow
def test_a_failed_item_says_why_and_the_next_one_is_measured(run: Callable[..., Measured]) -> None:
    gone = TrialError(NEEDED)
    gone.__cause__ = ImportError("No module named 'bitsandbytes'")
    last = TrialError("One example alone does not fit in memory. Use --gradient-checkpointing.")

    found = run(
        Item("lora", "update", _raising(torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB"))),
        Item("dora", "update", _raising(last)),
        Item("4bit", "update", _raising(gone)),
        Item("l2", "update", _raising(ValueError("wrong"))),
        Item("edit", "edit", lambda subject, clock: {"seconds": 1.0, "layers": 7}),
    )

    ends = ["out of memory", "out of memory", "library missing", "failed", "done"]
    assert [item["status"] for item in found["items"]] == ends
    assert "CUDA out of memory" in found["items"][0]["error"]
    assert found["items"][-1]["seconds"] == 1.0


def _taking(seconds: float) -> Callable[[Subject, Clock], Any]:
    def measured(subject: Subject, clock: Clock) -> Any:
        assert isinstance(clock.now, Hands)
        clock.now.at += seconds
        return {"seconds": seconds, "layers": 7}

    return measured


@pytest.mark.slow
def test_an_item_is_skipped_if_one_of_its_kind_takes_longer_than_what_is_left(run: Callable[..., Measured]) -> None:
    found = run(Item("one", "", _taking(90)), Item("two", "", _taking(90)), Item("three", "", _taking(0)), minutes=4)

    assert [item["status"] for item in found["items"]] == ["done", "done", "skipped"]
    assert found["items"][-1]["reason"] == "60 s left, 90 needed"


@pytest.mark.slow
def test_one_slow_training_does_not_skip_the_short_items_after_it(run: Callable[..., Measured]) -> None:
    taken = [("lora", 20), ("dora", 30), ("mdgd", 150), ("dac", 20), ("loda", 10)]
    updates = [Item(name, "update", _taking(seconds)) for name, seconds in taken]

    found = run(*updates, Item("answers", "64 answers", _taking(8)), Item("edit", "a block", _taking(0)), minutes=4)

    ends = {item["item"]: item["status"] for item in found["items"]}
    assert ends["dac"] == "done"  # 40 s are left, and a training took 30 in the median
    assert ends["loda"] == "skipped"  # 20 are left
    assert ends["answers"] == ends["edit"] == "done"  # of their kinds there was none: as long as the shortest so far


@pytest.mark.slow
def test_methods_outside_the_paper_leave_time_to_the_items_after_them(run: Callable[..., Measured]) -> None:
    first, other, last = (Item(name, "", _taking(seconds)) for name, seconds in (("l2", 100), ("dac", 0), ("edit", 0)))

    found = run(first, replace(other, yields=True), last, minutes=4)

    assert [item["status"] for item in found["items"]] == ["done", "skipped", "done"]  # 140 s are left, and 60 reserved


@pytest.mark.slow
def test_the_file_is_whole_after_every_item(run: Callable[..., Measured], tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def look(subject: Subject, clock: Clock) -> Any:
        found = _file(tmp_path / "gpu.json")
        assert found["facts"]["torch"] == torch.__version__
        seen.append([item["item"] for item in found["items"]])
        return {"seconds": 0.0, "layers": 7}

    run(Item("one", "", look), Item("two", "", look), Item("three", "", look))

    assert seen == [[], ["one"], ["one", "two"]]


def test_a_model_that_cannot_be_drawn_is_told_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: torch.device, small: bool) -> Subject:
        raise torch.OutOfMemoryError("13 GiB do not fit")

    monkeypatch.setattr(Subject, "of", refuse)
    Measurement(tmp_path / "gpu.json", CPU, Clock(1e6), small=False).run(items())

    (only,) = _file(tmp_path / "gpu.json")["items"]
    assert (only["item"], only["status"]) == ("model", "out of memory")


def test_examples_are_as_long_as_the_plan_assumes(subject: Subject) -> None:
    batch = subject.train.training_batch(range(8), RECIPE.max_length)

    assert batch["attention_mask"].sum(dim=1).tolist() == [subject.tokens] * 8
    assert subject.train.target_tokens(range(8), RECIPE.max_length) == 8 * 20


@pytest.mark.slow
def test_both_ways_of_answering_are_timed_and_compared(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    ways: list[bool] = []

    def one_other_answer(*arguments: Any, whole: bool, **settings: Any) -> Any:
        ways.append(whole)
        found = evaluate(*arguments, whole=whole, **settings)
        return [replace(found[0], prediction=f"not {found[0].prediction}"), *found[1:]] if whole else found

    monkeypatch.setattr("tests.perf.gpu.items.evaluate", one_other_answer)
    found: Measured = answers(subject, Clock(1e6))

    assert ways == [True, False] * 4
    assert found["differ"] == 1
    assert found["questions"] == ANSWERS
    assert all(len(found[way]["each_seconds"]) == 3 and found[way]["seconds"] > 0 for way in ("whole", "shared"))


def test_answers_stop_after_one_turn_when_the_time_is_up(subject: Subject) -> None:
    found: Measured = answers(subject, UP)

    assert [len(found[way]["each_seconds"]) for way in ("whole", "shared")] == [1, 1]


def test_one_block_is_edited(subject: Subject) -> None:
    plugin: Any = Registry().method("model_tailor")

    found: Measured = edited(lambda: plugin(n_samples=4), subject, Clock(1e6))

    assert found["layers"] == 7
    assert found["seconds"] > 0
    assert found["plan_bytes"] > found["plan_parts"]["Hessian"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_an_update_of_every_method_is_measured_beside_its_plan(name: str, subject: Subject) -> None:
    plugin = Registry().method(name)
    assert issubclass(plugin, TrainMethod)

    found: Measured = update(plugin, subject, Clock(1e6), SHORT)

    assert (found["updates"], found["micro_batch"]) == (2, 3)
    assert found["update_seconds"] > 0
    assert found["plan_bytes"] > found["plan_parts"]["base"] == 2 * subject.blueprint.parameters


def test_a_training_that_was_stopped_says_so(subject: Subject) -> None:
    plugin = Registry().method("lora")
    assert issubclass(plugin, TrainMethod)

    found: Measured = update(plugin, subject, UP, SHORT)

    assert (found["status"], found["updates"]) == ("stopped", 1)


def test_the_table_has_a_row_for_every_item() -> None:
    done = {"status": "done", "updates": 20, "counted": 16, "gradient_checkpointing": True, "micro_batch": 8}
    found: list[Measured] = [
        {"item": "lora", **done, "update_seconds": 2.0, "peak_bytes": 3 << 30, "plan_bytes": 4 << 30},
        {"item": "dora", **done, "update_seconds": 3.0, "plan_seconds": 6.5},
        {"item": "answers", "status": "done", "questions": 64, "differ": 2, "whole": {"seconds": 8.0}}
        | {"shared": {"seconds": 2.0}},
        {"item": "edit", "status": "out of memory", "error": "OutOfMemoryError: 2 GiB"},
    ]

    lora, dora, whole, shared, edit = rows(found)

    assert lora == ("lora", "2.000", "1.00", "", "3.00", "4.00", "8", "16 of 20 updates counted, with checkpointing")
    assert dora[2:4] == ("1.50", "6.500")
    assert (whole[1], shared[1], shared[-1]) == ("8.000", "2.000", "32.0 answers/s, 2 differ")
    assert edit[-1] == "out of memory: OutOfMemoryError: 2 GiB"


def test_a_device_that_is_not_there_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert measure.device_named("cuda") is None
    assert measure.device_named("cpu") == CPU


@pytest.mark.slow
def test_it_runs_on_a_device_that_refuses_to_mix_devices(tmp_path: Path) -> None:
    words = ["--tiny", "--device", "pretend", "--minutes", "1000", "--items", "lora,lilora,answers,edit"]
    words += ["--output", str(tmp_path / "out.json")]

    ended = subprocess.run(
        [sys.executable, "-m", "tests.perf.gpu", *words], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    )

    assert ended.returncode == 0, ended.stderr
    found = _file(tmp_path / "out.json")
    assert found["facts"]["device"] == "pretend"
    assert [(item["item"], item["status"]) for item in found["items"] if item["status"] != "done"] == []
    assert len(found["items"]) == 4
