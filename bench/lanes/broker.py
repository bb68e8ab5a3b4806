"""The broker hands ready jobs to lanes, counts deaths, and fails the children of failed parents."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.values.job import Job
from bench.values.record import Record
from bench.values.trial import Trial

_DEATHS = 2  # a trial fails after this many of its workers have died


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one trial; ``done`` and ``failed`` carry the record, ``progress`` the stage."""

    kind: Literal["started", "progress", "done", "failed", "stopped"]
    trial: str
    lane: int
    stage: str = ""
    step: int = 0
    steps: int = 0
    loss: float = 0.0
    record: Record | None = None
    label: str = ""


class Broker:
    """The state of one command's jobs, independent of Ray; ``jobs`` holds parents before children.

    ``stored`` holds the records of the store by trial id. Those that are not among the jobs were judged complete by the
    plan, so they count as finished. As long as ``is_open`` is True, more jobs may come.
    """

    def __init__(self, jobs: Sequence[Job], stored: Mapping[str, Record], *, is_open: bool = False) -> None:
        self._jobs = {job.trial.id: job for job in jobs}
        self._waiting = deque(self._jobs)
        self._running: dict[int, str] = {}
        self._finished = stored.keys() - self._jobs.keys()
        self._failed: dict[str, str] = {}
        self._deaths: dict[str, int] = {}
        self._records: dict[str, Record] = {}
        self.closed = False
        self.is_open = is_open
        self.events = deque[Event]()  # that nobody is known to have
        self._delivered = 0

    @property
    def over(self) -> bool:
        """Whether the broker has no job left to hand out or to wait for."""
        return self.closed or not (self._waiting or self._running or self.is_open)

    def add(self, jobs: Sequence[Job]) -> None:
        """Add jobs, parents before children; of a known job, only what it does not cover is done."""
        for job in jobs:
            key, known = job.trial.id, self._jobs.get(job.trial.id)
            joined = self._jobs[key] = known.joined(job) if known else job
            revived = key in self._records and self._records[key].status == "stopped" and not joined.rungs
            if known is not None and joined.covers == known.covers and not revived:
                continue
            for memory in (self._records, self._failed, self._deaths):
                memory.pop(key, None)
            if key not in self._waiting and key not in self._running.values():
                self._waiting.append(key)

    def running_on(self, lane: int) -> str | None:
        """Return the id of the trial that a lane is working on, or None."""
        return self._running.get(lane)

    def record(self, key: str) -> Record | None:
        """Return a trial's record, or None while it waits or runs."""
        return self._records.get(key)

    def events_after(self, seen: int) -> list[Event]:
        """Return the events after the first ``seen`` of all; these have arrived, so they are forgotten.

        A caller whose answer was lost asks with the same number again, and gets the same events.
        """
        while self.events and self._delivered < seen:
            self.events.popleft()
            self._delivered += 1
        return list(self.events)

    def take(self, lane: int) -> Job | None:
        """Return the lane's next job, or None if no job is ready; ``over`` says whether one may come.

        If a lane asks before it has finished, it was restarted; it gets its trial back once.
        """
        if self.closed:
            return None
        if lane in self._running:
            self.lost(lane)
        for key in tuple(self._waiting):
            job = self._jobs[key]
            parent = job.trial.parent
            if parent is not None and (reason := self._without(parent)):
                self._fail(key, lane, reason)
            elif parent is None or parent.id in self._finished:
                self._waiting.remove(key)
                self._running[lane] = key
                self._note(Event("started", key, lane))
                return job
        return None

    def _without(self, parent: Trial) -> str:
        """Return why a parent's children cannot be done, or an empty text if they can be done now or later."""
        if parent.id in self._failed:
            return f"Its parent {parent.label} failed: {self._failed[parent.id]}"
        if parent.id not in self._finished and parent.id not in self._jobs:  # a child would wait for ever
            return f"Its parent {parent.label} is not in the run folder, and no job makes it. Run the command again."
        return ""

    def progress(self, lane: int, stage: str, step: int, steps: int, loss: float) -> None:
        """Record the progress of a lane's trial."""
        if lane in self._running:
            self._note(Event("progress", self._running[lane], lane, stage, step, steps, loss))

    def finish(self, lane: int, record: Record) -> None:
        """Take the record of the trial that a lane has finished."""
        key = self._running.pop(lane)
        if record.status == "stopped" and not self._jobs[key].rungs:  # meanwhile another job needs the whole training
            self._waiting.append(key)
            return
        if record.status == "stopped":
            self._records[key] = record
            self._note(Event("stopped", key, lane))
            return
        if record.status == "failed":
            self._failed[key] = record.error or "no reason given"
        else:
            self._finished.add(key)
        if record.status == "done" and record.lacks(self._jobs[key].asked):  # more scores were asked for while it ran
            self._waiting.append(key)
        else:
            self._records[key] = record
        self._note(Event(record.status, key, lane, record=record))

    def lost(self, lane: int, *, blame: bool = True) -> str:
        """Take back the trial of a lane whose worker died, and return its label; the second death fails it.

        If the worker died with its node, the trial is not to blame; pass ``blame`` False, and the death is not counted.
        """
        key = self._running.pop(lane, None)
        if key is None:
            return ""
        self._deaths[key] = self._deaths.get(key, 0) + blame
        self._waiting.appendleft(key)
        label = self._jobs[key].trial.label
        if self._deaths[key] >= _DEATHS:
            self._fail(key, lane, f"Its worker died {_DEATHS} times. Check the memory and the lane's log.")
        return label

    def _fail(self, key: str, lane: int, reason: str) -> None:
        self._waiting.remove(key)
        self._failed[key] = reason
        record = self._records[key] = Record(self._jobs[key].trial, "failed", error=reason)
        self._note(Event("failed", key, lane, record=record))

    def _note(self, event: Event) -> None:
        self.events.append(replace(event, label=self._jobs[event.trial].trial.label))
