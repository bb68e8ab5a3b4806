"""A lane on the CPU and one on the pretend device, which do the same jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from bench.checks.tiny import RECIPE, Squares
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.registry import Registry
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from bench.trial.runner import TrialRunner
from bench.values.job import Job
from bench.values.recipe import Connector, Dtype
from bench.values.record import Record
from bench.values.resources import Resources
from tests.making.records import weights


class Old(Squares):
    name: ClassVar[str] = "old_squares"


class New(Squares):
    name: ClassVar[str] = "new_squares"


@dataclass(frozen=True, slots=True)
class Lanes:
    """A lane on each device, for one connector and one dtype; both keep what they have done."""

    request: Request
    cpu: TrialRunner
    pretend: TrialRunner

    @classmethod
    def of(cls, suite: Suite, folder: Path, device: torch.device) -> Lanes:
        """Return new lanes with new run folders."""
        registry = Registry()
        registry.add(Old)
        registry.add(New)
        tasks = Tasks(registry)
        request = Request(suite, (), (2,), suite.targets, suite.sources, suite.recipe, limit=2, tasks=tasks)
        places, resources = (torch.device("cpu"), device), Resources(eval_batch_size=2)
        return cls(
            request,
            *(TrialRunner(_store(folder, place), suite.folder, tasks, place, resources) for place in places),
        )

    def elsewhere(self, folder: Path) -> Lanes:
        """Return lanes with new run folders and the same base models."""
        new = self.of(self.request.suite, folder, self.pretend.device)
        new.cpu.warm, new.pretend.warm = self.cpu.warm, self.pretend.warm
        return new

    def again(self, resources: Resources | None = None) -> Lanes:
        """Return new lanes with the same run folders, as after a kill."""
        new = [
            TrialRunner(lane.store, lane.model, lane.tasks, lane.device, resources or lane.resources)
            for lane in (self.cpu, self.pretend)
        ]
        return Lanes(self.request, *new)

    def run_both(self, jobs: Sequence[Job]) -> None:
        """Run the jobs in both lanes, and compare what they leave."""
        for job in jobs:
            self.compare(job, self.cpu.run(job), self.pretend.run(job))

    def compare(self, job: Job, here: Record, there: Record) -> None:
        """Compare a job's results in both lanes: the change bit for bit, the losses, every answer and its scores."""
        assert (here.error, there.error) == (None, None)
        assert here.scores.keys() == there.scores.keys() >= {asked.key for asked in job.asked}
        one, other = self.cpu.store, self.pretend.store
        for key in here.scores:
            assert one.scores_of(job.trial).read(here.scores[key]) == other.scores_of(job.trial).read(there.scores[key])
        if job.trial.rank is not None:
            assert weights(one, job) == weights(other, job)
            assert one.change_of(job.trial).losses() == other.change_of(job.trial).losses()
        for step in job.snapshots:
            paths = [store.change_of(job.trial).snapshot(step).folder for store in (one, other)]
            assert len({(path / "adapter_model.safetensors").read_bytes() for path in paths}) == 1


def _store(folder: Path, device: torch.device) -> Store:
    store = Store(folder / device.type)
    store.prepare()
    return store


def suite_of(folder: Path, connector: Connector, dtype: Dtype) -> Suite:
    """Return the tiny suite with a recipe of two updates; answers are always given in float32."""
    recipe = replace(RECIPE, updates=2, micro_batch_size=5, clip=1.0, connector=connector, train_dtype=dtype)
    return Suite("tiny", str(folder), ("old_squares",), ("new_squares",), recipe)
