"""The broker as a Ray actor: lanes pull jobs from it, and a search pushes jobs to it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.lanes.broker import Broker, Event
from bench.values.job import Job
from bench.values.record import Record

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Rung:
    """Source and Target of a training at one of its steps, as fractions."""

    step: int
    source: float
    target: float


class _BrokerActor:
    """The broker as an asynchronous actor, so that it serves other lanes while one lane waits for a job."""

    def __init__(self, jobs: Sequence[Job], stored: Mapping[str, Record], is_open: bool) -> None:
        self._broker = Broker(jobs, stored, is_open=is_open)
        self._broken: list[str] = []
        self._halted = ""
        self._heard: set[int] = set()
        self._nodes: dict[tuple[int, int], str] = {}
        self._controllers: list[Any] = []
        self._turns: dict[int, int] = {}
        self._held: dict[str, Rung] = {}
        self._verdicts: dict[tuple[str, int], bool] = {}

    async def next(self, lane: int) -> Job | None:
        """Return the lane's next job, or None if no job is left.

        If a lane's worker dies during the call, the call of the restarted worker replaces it.
        """
        self._heard.add(lane)
        turn = self._turns[lane] = self._turns.get(lane, 0) + 1
        while self._turns[lane] == turn:
            if (job := self._broker.take(lane)) is not None or self._broker.over:
                return job
            await asyncio.sleep(POLL_SECONDS)
        return None

    async def follow(self, jobs: Sequence[Job], seen: int = 0) -> dict[str, Record] | Rung:
        """Add jobs and wait until all are done, or until one is held at a rung after step ``seen``.

        A call with a later ``seen`` lets a training that is held at a rung continue. After the broker is closed the
        call never returns, because the jobs have no result.
        """
        self._broker.add(jobs)
        keys = [job.trial.id for job in jobs]
        for key in keys:
            if key in self._held and self._held[key].step <= seen:
                self._verdicts[key, self._held[key].step] = True
        while True:
            found = {key: record for key in keys if (record := self._broker.record(key)) is not None}
            if len(found) == len(set(keys)):
                return found
            for key in keys:
                if key in self._held and self._held[key].step > seen:
                    return self._held[key]
            await asyncio.sleep(POLL_SECONDS)

    async def rung(self, lane: int, step: int, source: float, target: float) -> bool:
        """Hold a lane's training until a verdict; return whether to continue, False if the broker closes."""
        key = str(self._broker.running_on(lane))
        self._held[key] = Rung(step, source, target)
        while not self._broker.closed and (key, step) not in self._verdicts:
            await asyncio.sleep(POLL_SECONDS)
        if self._held.get(key) == Rung(step, source, target):
            del self._held[key]
        return self._verdicts.get((key, step), False)

    async def stop(self, jobs: Sequence[Job], step: int) -> None:
        """Stop the one of these jobs whose training is held at a rung."""
        for job in jobs:
            if job.trial.id in self._held:
                self._verdicts[job.trial.id, step] = False

    async def settle(self) -> None:
        self._broker.is_open = False

    async def progress(self, lane: int, stage: str, step: int, steps: int, loss: float) -> None:
        self._broker.progress(lane, stage, step, steps, loss)

    async def finish(self, lane: int, record: Record) -> None:
        self._broker.finish(lane, record)

    async def stands(self, lane: int, rank: int, node: str) -> None:
        """Note which node one of a lane's workers is on."""
        self._nodes[lane, rank] = node

    async def controlled(self, controller: Any) -> None:
        """Note the actor that controls a lane."""
        self._controllers.append(controller)

    async def controllers(self) -> list[Any]:
        return self._controllers

    async def node_lost(self, node: str) -> list[str]:
        """Take back the trials of a lost node's lanes, without counting a death; return their labels."""
        lanes = {lane for (lane, _), place in self._nodes.items() if place == node}
        labels = [self._broker.lost(lane, blame=False) for lane in sorted(lanes)]
        return [label for label in labels if label]

    async def lost(self, lane: int) -> None:
        self._heard.add(lane)
        self._broker.lost(lane)

    async def lanes_heard(self) -> int:
        return len(self._heard)

    async def broken(self, lane: int, reason: str) -> None:
        self._heard.add(lane)
        self._broken.append(f"lane {lane}: {reason}")

    async def broken_lanes(self) -> list[str]:
        return self._broken

    async def halt(self, reason: str) -> None:
        """Hand out no more jobs, because the whole command must stop; the first reason counts."""
        self._halted = self._halted or reason
        self._broker.closed = True

    async def halted(self) -> str:
        return self._halted

    async def events_after(self, seen: int) -> list[Event]:
        return self._broker.events_after(seen)

    async def is_over(self) -> bool:
        return self._broker.over

    async def close(self) -> None:
        self._broker.closed = True


def start(jobs: Sequence[Job], stored: Mapping[str, Record], *, is_open: bool) -> Any:
    """Start the broker on the driver's node, which outlives every lane, and return the broker's handle."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_concurrency": 1000, "scheduling_strategy": here}
    return ray.remote(**options)(_BrokerActor).remote(jobs, stored, is_open)
