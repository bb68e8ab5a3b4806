"""A trial that several workers share: what one gives, and one end for all of them, whatever fails where."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.plan.plan import Plan, make
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.tasks import Tasks
from bench.store.changes import CHECKPOINT
from bench.store.run_folder import Store
from bench.values.job import Job
from bench.values.record import Record
from tests.making.records import weights
from tests.making.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.slow  # two processes import torch

Parallel = Callable[..., list[Any]]
Prepare = Callable[..., tuple[Plan, Store, Mapping[str, Any]]]


@pytest.fixture
def prepare(tiny_suite: Suite, squares: Tasks, tiny_tasks: Path, tmp_path: Path) -> Prepare:
    def build(*methods: str, folder: str = "runs", **options: Any) -> tuple[Plan, Store, Mapping[str, Any]]:
        store = Store(tmp_path / folder)
        store.prepare()
        recipe = replace(tiny_suite.recipe, dropout=0.0, updates=3)
        request = Request(tiny_suite, methods, (2,), tiny_suite.targets, tiny_suite.sources, recipe, tasks=squares)
        setup = {"tasks": tiny_tasks, "output": store.root, "model": tiny_suite.folder, **options}
        return make(request, store), store, setup

    return build


def of(plan: Plan, method: str) -> Job:
    return next(job for job in plan.jobs if job.trial.method == method)


def test_two_workers_leave_one_whole_trial(pair: Parallel, prepare: Prepare) -> None:
    plan, store, setup = prepare("lora")
    job = of(plan, "lora")

    first, second = pair("run", setup, job)

    assert first == second == store.read(job.trial)
    assert first.status == "done"
    assert len(first.scores) == 2
    assert make(plan.request, store).done(job)
    assert first.environment["micro_batch"] == "8"
    assert not list(store.root.rglob("*.tmp"))


def test_an_edit_by_two_workers_gives_the_bytes_of_one(pair: Parallel, prepare: Prepare) -> None:
    plan, store, setup = prepare("dare")
    alone, other, alone_setup = prepare("dare", folder="alone", together=False)
    del alone

    pair("run", setup, of(plan, "lora"))
    for folder in (store, other):
        source, target = store.folder(of(plan, "lora").trial), folder.folder(of(plan, "lora").trial)
        if source != target:
            target.symlink_to(source)
    first, second = pair("run", setup, of(plan, "dare"))
    pair("run", {**alone_setup, "output": other.root}, of(plan, "dare"))

    assert first == second
    assert first.status == "done"
    assert weights(store, of(plan, "dare")) == weights(other, of(plan, "dare"))


# By stage: the worker that breaks, and how many calls it gets through before.
BREAKS = [
    ("adapt", 1, 0),
    ("backward", 0, 1),
    ("backward", 1, 1),
    ("penalty", 1, 1),
    ("on_gradients", 0, 2),
    ("on_update", 1, 2),
    ("change", 1, 0),
    ("snapshot", 0, 0),
    ("commit", 0, 0),
    ("read", 1, 0),
    ("evaluate", 0, 1),
    ("evaluate", 1, 0),
    ("scores", 0, 1),
    ("record", 0, 0),
]


@pytest.mark.parametrize(("stage", "rank", "calls"), BREAKS)
def test_one_worker_that_fails_ends_the_trial_on_all_with_the_reason(
    pair: Parallel, prepare: Prepare, stage: str, rank: int, calls: int
) -> None:
    plan, store, setup = prepare("lora")
    job = replace(of(plan, "lora"), snapshots=(2,))

    first, second = pair("run", setup, job, (stage, rank, calls))

    reason = f"OSError: [Errno 5] No answer from {stage}"
    for record in (first, second):
        assert record.status == "failed"
        assert record.error == reason
    again = pair("run", setup, job)
    assert [record.status for record in again] == ["done", "done"]
    if stage != "record":  # there the failure itself cannot be written
        whole = prepare("lora", folder="whole")
        pair("run", whole[2], job)
        assert weights(store, job) == weights(whole[1], job)


@pytest.mark.parametrize(("stage", "rank"), [("snapshot", 0), ("on_update", 1), ("record", 0)])
def test_a_disk_that_is_full_for_one_worker_stops_both_and_fails_no_trial(
    pair: Parallel, prepare: Prepare, stage: str, rank: int
) -> None:
    plan, store, setup = prepare("lora")
    job = replace(of(plan, "lora"), snapshots=(2,))

    lines = pair("full", setup, job, (stage, rank, 0))

    assert lines[0] == lines[1]
    assert lines[0].startswith("The disk is full: ")
    assert store.read(job.trial) is None
    assert [record.status for record in pair("run", setup, job)] == ["done", "done"]


def test_a_failure_of_the_second_worker_is_recorded_with_its_traceback(pair: Parallel, prepare: Prepare) -> None:
    plan, store, setup = prepare("lora")
    job = of(plan, "lora")

    pair("run", setup, job, ("on_update", 1, 0))

    record = store.read(job.trial)
    assert record is not None
    assert record.error == "OSError: [Errno 5] No answer from on_update"
    assert "called(method.on_update, step)" in (store.folder(job.trial) / "error.txt").read_text(encoding="utf-8")


def test_a_failing_edit_ends_on_all(pair: Parallel, prepare: Prepare) -> None:
    plan, _, setup = prepare("dare")
    pair("run", setup, of(plan, "lora"))

    records = pair("run", setup, of(plan, "dare"), ("edit", 0, 0))

    assert [record.error for record in records] == ["OSError: [Errno 5] No answer from edit"] * 2


def test_a_checkpoint_that_one_worker_cannot_read_fails_on_all_and_one_it_can_goes_on(
    pair: Parallel, prepare: Prepare
) -> None:
    plan, store, setup = prepare("lora")
    job = replace(of(plan, "lora"), snapshots=(2,))
    pair("run", setup, job, ("on_update", 1, 2))
    assert (store.folder(job.trial) / CHECKPOINT).is_file()

    unread = pair("run", setup, job, ("checkpoint", 1, 0))

    assert [record.error for record in unread] == ["OSError: [Errno 5] No answer from checkpoint"] * 2
    resumed = pair("run", setup, job)
    _, whole, whole_setup = prepare("lora", folder="whole")
    pair("run", whole_setup, job)
    assert [record.status for record in resumed] == ["done", "done"]
    assert weights(store, job) == weights(whole, job)
    assert store.change_of(job.trial).losses() == whole.change_of(job.trial).losses()


def test_a_search_asks_the_first_worker_and_stops_all(pair: Parallel, prepare: Prepare) -> None:
    plan, store, setup = prepare("lora")
    job = of(plan, "lora")
    rungs = tuple(replace(asked, count=4) for asked in job.asked)

    (first, asked), (second, nothing) = pair("judged", setup, replace(job, snapshots=(1, 2), rungs=rungs))

    assert (first.status, second.status) == ("stopped", "stopped")
    assert (asked, nothing) == ([1, 2], [])
    assert store.read(job.trial) is None
    finished: list[Record] = pair("run", setup, job)
    assert [record.status for record in finished] == ["done", "done"]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker_ends_the_other_and_is_no_failure_of_the_trial(new_pair: Callable[[], Any], rank: int) -> None:
    pair = new_pair()
    pair.begin("killed", rank)
    pair.processes[rank].wait(PATIENCE_SECONDS)

    left_by = pair.result(1 - rank)

    assert left_by.startswith("A worker that shares this trial is gone")
    assert pair.processes[rank].returncode == -9
