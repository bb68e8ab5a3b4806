"""Real Ray: a lane of two workers, one of which is killed."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from bench.lanes import lanes
from bench.lanes.setup import LaneSetup, Launch
from bench.plan.plan import Plan, make
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from bench.values.record import Record
from bench.values.resources import Resources
from tests.making.plugins import KILLED_ONCE, add_methods
from tests.making.records import weights

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two workers need two cores"),
]


def done_by(plan: Plan, store: Store, workers: int) -> dict[str, Record]:
    launch = Launch(1 if workers > 1 else 0, resources=Resources(workers=workers))
    setup = LaneSetup(store.root, plan.request.suite.folder, plan.request.tasks, launch)
    events = lanes.run(plan.pending, plan.records, setup)
    return {event.record.trial.method: event.record for event in events if event.record}


def planned(suite: Suite, tasks: Tasks, folder: Path, *methods: str) -> tuple[Plan, Store]:
    store = Store(folder)
    store.prepare()
    recipe = replace(suite.recipe, updates=60, dropout=0.0)
    return make(Request(suite, methods, (2,), suite.targets, suite.sources, recipe, tasks=tasks), store), store


def test_two_workers_give_what_one_gives_though_one_of_them_is_killed(
    tiny_suite: Suite, squares: Tasks, tmp_path: Path
) -> None:
    halted = 'if distributed.get_rank() == 1: raise RuntimeError("broken on one worker")'
    add_methods(squares.registry, tmp_path / "killer.py", killer=KILLED_ONCE, halted=halted)
    plan, store = planned(tiny_suite, squares, tmp_path / "runs", "killer", "halted", "dare")

    records = done_by(plan, store, workers=2)

    assert (tmp_path / "killed").exists()
    status = {method: record.status for method, record in records.items()}
    assert status == {"zero_shot": "done", "killer": "done", "halted": "failed", "lora": "done", "dare": "done"}
    assert records["halted"].error == "killer.py:35 in on_update: RuntimeError: broken on one worker"
    alone_plan, alone_store = planned(tiny_suite, squares, tmp_path / "alone", "killer", "dare")
    alone = done_by(alone_plan, alone_store, workers=1)
    for method in ("killer", "lora"):
        losses, wanted = (part.change_of(alone[method].trial).losses() for part in (store, alone_store))
        assert len(losses) == 60
        assert losses == pytest.approx(wanted, rel=1e-3)
        learnt = load(weights(store, records[method]))
        for name, value in load(weights(alone_store, alone[method])).items():
            torch.testing.assert_close(learnt[name], value, rtol=1e-2, atol=1e-3)
    for method, record in alone.items():
        scores = {key: score.metrics for key, score in records[method].scores.items()}
        assert scores == {key: score.metrics for key, score in record.scores.items()}
