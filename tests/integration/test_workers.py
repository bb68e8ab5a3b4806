"""Real Ray: a lane of two workers, one of which is killed."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bench.lanes import lanes
from bench.lanes.setup import Setup
from bench.plan.plan import Plan, make
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.tasks import Tasks
from bench.spec import Execution, Record
from bench.store.run_folder import Store

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two workers need two cores"),
]

KILLER = '''
"""LoRA whose second worker is killed once, as the operating system would, after the first checkpoint."""
import os, signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from torch import distributed
from bench import Step, TrainMethod, insert_lora, lora_change

@dataclass(kw_only=True)
class Killer(TrainMethod):
    """LoRA with one SIGKILL, where there are two workers."""
    name: ClassVar[str] = "killer"
    paper: ClassVar[str] = "none"
    def adapt(self, model, rank, recipe):
        return insert_lora(model, rank, recipe)
    def change(self, model):
        return lora_change(model)
    def on_update(self, step: Step) -> None:
        mark = Path(__file__).with_name("killed")
        second = distributed.is_initialized() and distributed.get_rank() == 1
        if second and step.index == 55 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

@dataclass(kw_only=True)
class Halted(Killer):
    """LoRA that breaks on the second worker alone."""
    name: ClassVar[str] = "halted"
    def on_update(self, step: Step) -> None:
        if distributed.get_rank() == 1:
            raise RuntimeError("broken on one worker")
'''


def done_by(plan: Plan, store: Store, workers: int) -> dict[str, Record]:
    setup = Setup(store.root, plan.request.suite.folder, plan.request.tasks, Execution(workers=workers))
    events = lanes.run(plan.pending, plan.records, setup, 1 if workers > 1 else 0)
    return {event.record.trial.method: event.record for event in events if event.record}


def planned(suite: Suite, tasks: Tasks, folder: Path, *methods: str) -> tuple[Plan, Store]:
    store = Store(folder)
    store.prepare()
    recipe = replace(suite.recipe, updates=60, dropout=0.0)
    return make(Request(suite, methods, (2,), suite.targets, suite.sources, recipe, tasks=tasks), store), store


def weights(store: Store, record: Record) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = load_file(store.folder(record.trial) / "change" / "adapter_model.safetensors")
    return loaded


def test_two_workers_give_what_one_gives_though_one_of_them_is_killed(
    tiny_suite: Suite, squares: Tasks, tmp_path: Path
) -> None:
    path = tmp_path / "killer.py"
    path.write_text(KILLER)
    squares.registry.add_file(path)
    plan, store = planned(tiny_suite, squares, tmp_path / "runs", "killer", "halted", "dare")

    records = done_by(plan, store, workers=2)

    assert (tmp_path / "killed").exists()
    status = {method: record.status for method, record in records.items()}
    assert status == {"zero_shot": "done", "killer": "done", "halted": "failed", "lora": "done", "dare": "done"}
    assert records["halted"].error == "RuntimeError: broken on one worker"
    alone_plan, alone_store = planned(tiny_suite, squares, tmp_path / "alone", "killer", "dare")
    alone = done_by(alone_plan, alone_store, workers=1)
    for method in ("killer", "lora"):
        losses, wanted = (part.change_of(alone[method].trial).losses() for part in (store, alone_store))
        assert len(losses) == 60
        assert losses == pytest.approx(wanted, rel=1e-3)
        for name, value in weights(alone_store, alone[method]).items():
            torch.testing.assert_close(weights(store, records[method])[name], value, rtol=1e-2, atol=1e-3)
    for method, record in alone.items():
        scores = {key: score.metrics for key, score in records[method].scores.items()}
        assert scores == {key: score.metrics for key, score in record.scores.items()}
