"""What --methods all adds to a run of the paper's methods."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.options import Cells
from bench.cli.request import read_request
from bench.lanes.setup import Launch
from bench.plan.plan import Plan, make
from bench.plan.suite import Suite
from bench.plugins.registry import Registry
from bench.prepare.price import others, work
from bench.prepare.price.others import addition
from bench.store.run_folder import Store
from bench.values.job import Job
from bench.values.record import Cost, Record
from bench.values.resources import Resources
from tests.making.records import done

HERE = {"device": "cpu", "processor": "one"}
ONE = Launch(lanes=1)


@pytest.fixture
def plan(tiny_suite: Suite, tiny_tasks: Path, tmp_path: Path) -> Callable[[str], Plan]:
    """Return ``plan(methods)``: a plan on the suite tiny, with what the run folder has of it."""

    def made(methods: str) -> Plan:
        words = Cells(suite="tiny", plugin=(tiny_tasks,), ranks="2", methods=methods)
        return make(read_request(words, tmp_path), Store(tmp_path))

    return made


def keep(store: Store, job: Job, train: float = 1.0, answers: float = 1.0) -> None:
    """Keep the record of a job that took some seconds for training, and for each of its scores."""
    record = done(job)
    scores = {key: replace(score, seconds=answers) for key, score in record.scores.items()}
    store.write(Record(job.trial, "done", scores, Cost(train_seconds=train), HERE))


def test_before_anything_is_measured_only_the_work_is_named(plan: Callable[[str], Plan], tmp_path: Path) -> None:
    said = addition(plan("lora,dare"), plan("lora,dare,mdgd,lines"), Store(tmp_path), ONE)

    assert said == "--methods all adds lines, mdgd: 2 cells, 1 training."


def test_the_run_folders_own_seconds_price_it(plan: Callable[[str], Plan], tmp_path: Path) -> None:
    store = Store(tmp_path)
    for job in plan("lora,dare").jobs:
        keep(store, job, train=10.0, answers=2.0)
    paper, every = plan("lora,dare"), plan("lora,dare,mdgd,lines")
    scores = len(next(job for job in every.jobs if job.trial.method == "mdgd").asked)

    said = addition(paper, every, store, ONE)

    slow = Registry().method("mdgd")().slowdown()
    seconds = slow * 10 + 10 + 2 * scores * 2  # mdgd's training, an edit as long as dare's, and the scores of both
    assert said == f"--methods all adds lines, mdgd: 2 cells, 1 training, about {seconds:.0f} s with 1 lane."


def test_what_is_cached_costs_nothing(plan: Callable[[str], Plan], tmp_path: Path) -> None:
    store = Store(tmp_path)
    for job in plan("lora,mdgd,lines").jobs:
        keep(store, job)

    assert addition(plan("lora"), plan("lora,mdgd,lines"), store, ONE) == (
        "--methods all adds lines, mdgd: 2 cells, 1 training, all cached."
    )


@pytest.mark.parametrize(
    ("launch", "said"),
    [
        (Launch(lanes=8), "with 2 lanes."),  # more lanes than cores do not start
        (Launch(lanes=0), "with 1 lane."),
        (Launch(lanes=8, resources=Resources(workers=2)), "with 1 lane."),
        (Launch(lanes=8, address="auto"), "with 8 lanes."),
        (Launch(address="auto"), "with 1 lane."),
    ],
)
def test_the_lanes_are_those_that_this_machine_can_start_and_of_a_cluster_those_asked_for(
    launch: Launch, said: str, plan: Callable[[str], Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "cores", lambda: 2)
    monkeypatch.setattr(others, "here", lambda: None)
    store = Store(tmp_path)
    for job in plan("lora,dare").jobs:
        keep(store, job)

    assert addition(plan("lora,dare"), plan("lora,dare,mdgd,lines"), store, launch).endswith(said)
