"""What a run looks like while it runs: a live table on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from bench.lanes.broker import Event
from bench.lanes.throughput import rate
from bench.spec import Record


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where a trial's evaluation began on a lane: after ``step`` examples, at a moment of the clock."""

    trial: str
    step: int
    began: float


class Progress:
    """Counts trials as events come in, ``done`` of ``total`` from before, and draws them on stderr.

    ``total`` is None where nobody knows how many there will be.
    """

    def __init__(self, total: int | None, done: int = 0) -> None:
        self._total = total
        self._before = done
        self._done = done
        self._failed = 0
        self._running: dict[int, Event] = {}
        self._marks: dict[int, _Mark] = {}
        self._began = time.monotonic()
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def take(self, event: Event) -> None:
        """Take in an event and draw."""
        if event.kind in {"started", "progress"}:
            self._running[event.lane] = event
            self._mark(event)
        else:
            self._running.pop(event.lane, None)
            self._marks.pop(event.lane, None)
            self._done += event.kind == "done"
            self._failed += event.kind == "failed"
            if event.kind == "stopped":
                self._say(f"{self._count()}  {event.label} stopped early")
            if event.record is not None:
                self._say(f"{self._count()}  {describe(event.record)}")
        if self._console.is_terminal:
            self._live.update(self._status())

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    def _count(self) -> str:
        ended = self._done + self._failed
        return f"[{ended}]" if self._total is None else f"[{ended}/{self._total}]"

    def _status(self) -> Text:
        of, left = "", ""
        if self._total is not None:
            of, left = f" of {self._total}", f", about {self._left(self._total)} left"
        lines = [f"{self._done}{of} done, {len(self._running)} running, {self._failed} failed{left}"]
        for lane, event in sorted(self._running.items()):
            share = f" {event.step}/{event.steps}" if event.steps else ""
            loss = f" · loss {event.loss:.3f}" if event.stage == "train" else self._pace(event)
            lines.append(f"  lane {lane}: {event.label} · {event.stage or 'starting'}{share}{loss}")
        return Text("\n".join(lines))

    def _mark(self, event: Event) -> None:
        """Note where and when a lane's evaluation began: what it goes on from was not done now."""
        mark = self._marks.get(event.lane)
        if event.stage != "evaluate" or (mark and mark.trial == event.trial and mark.step <= event.step):
            return
        self._marks[event.lane] = _Mark(event.trial, event.step, time.monotonic())

    def _pace(self, event: Event) -> str:
        mark = self._marks.get(event.lane)
        if event.stage != "evaluate" or mark is None or event.step == mark.step:
            return ""
        return f" · {rate(event.step - mark.step, time.monotonic() - mark.began)} examples/s"

    def _left(self, total: int) -> str:
        finished = self._done + self._failed - self._before
        if not finished:
            return "?"
        seconds = (time.monotonic() - self._began) / finished * (total - self._before - finished)
        return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"


def describe(record: Record) -> str:
    """Return a record in one line: what it is, what it took, what came out."""
    if record.status == "failed":
        return f"{record.trial.label} FAILED: {record.error}"
    cost = record.cost
    parts = [
        record.trial.label,
        f"{cost.train_seconds:.0f} s training, {cost.evaluate_seconds:.0f} s evaluation",
    ]
    parts += [f"{score.asked.task} {100 * score.value:.1f}" for score in record.scores.values()]
    return " · ".join(parts)
