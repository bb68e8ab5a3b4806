"""Show the progress of a run on stderr, as bars on a terminal, otherwise as lines; report its pace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self

from rich.progress import TaskID

from bench.console import progress_bar
from bench.lanes.broker import Event
from bench.values.record import Record
from bench.values.scores import Score


class Progress:
    """Count trials as events arrive, and draw one bar for all trials and one for each lane.

    ``done`` trials of ``total`` were finished before. ``total`` is None if it is not known. ``work`` has the examples
    that each trial still trains on, and the answers that it still generates, by its id or by its label, and ``whole``
    the sum of all, if several trials have one label. The time left follows from these, so that it is known before the
    first trial ends, and a training counts more than an edit.
    """

    def __init__(
        self,
        total: int | None,
        done: int = 0,
        work: Mapping[str, tuple[int, int]] | None = None,
        whole: int | None = None,
    ) -> None:
        self._total = total
        self._done = done
        self._over: set[str] = set()  # a search may ask for more scores of a trial that has ended
        self._failed = 0
        self._work = work or {}
        self._reached: dict[str, float] = {}
        self._lanes: dict[int, TaskID] = {}
        self._bar = progress_bar("{task.fields[count]}", "{task.fields[detail]}", lasting=False, seconds=float("inf"))
        if work and whole is None:
            whole = sum(map(sum, self._work.values()))
        self._trials = self._bar.add_task(
            "trials", total=whole if work else total, completed=0 if work else done, detail="", count=""
        )
        self._bar.advance(self._trials, 0)  # the first sample: the pace counts from now
        self._count()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def take(self, event: Event) -> None:
        """Count an event and draw it."""
        lane = self._lanes.get(event.lane)
        if lane is None:
            lane = self._lanes[event.lane] = self._bar.add_task("", total=None, detail="", stage=None, count="")
        self._reach(event)
        if event.kind in {"started", "progress"}:
            self._advance(lane, event)
            return
        self._bar.update(lane, visible=False, stage=None)
        self._over.add(event.trial)
        self._failed += event.kind == "failed"
        self._count()
        count = f"[{self._ended}]" if self._total is None else f"[{self._ended}/{self._total}]"
        if event.kind == "stopped":
            self._say(f"{count}  {event.label} stopped early")
        if event.record is not None:
            self._say(f"{count}  {describe(event.record)}")

    @property
    def _ended(self) -> int:
        return self._done + len(self._over)

    def _count(self) -> None:
        """Draw how many trials have ended, and how much of the work is done."""
        done = sum(self._reached.values()) if self._work else self._ended
        count = f"{self._ended}" if self._total is None else f"{self._ended}/{self._total}"
        detail = f"{self._failed} failed" if self._failed else ""
        self._bar.update(self._trials, completed=done, count=count, detail=detail)

    def _reach(self, event: Event) -> None:
        """Note how much of a trial's work is done; a stage that starts again takes nothing back."""
        found = self._work.get(event.trial) or self._work.get(event.label)
        if found is None:
            return
        trained, answered = found
        share = event.step / event.steps if event.steps else 0.0
        done = {"train": trained * share, "evaluate": trained + answered * share}.get(event.stage, 0.0)
        if event.kind not in {"started", "progress"}:
            done = trained + answered
        self._reached[event.trial] = max(done, self._reached.get(event.trial, 0.0))
        self._count()

    def _advance(self, lane: TaskID, event: Event) -> None:
        """Draw how far a lane's trial is; steps before the point of resuming do not count for the pace."""
        task, stage = self._bar.tasks[lane], (event.trial, event.stage)  # no task is ever removed
        if task.fields["stage"] != stage or event.step < task.completed:
            task.total = event.steps or None
            self._bar.reset(lane, completed=event.step, visible=True)
            self._bar.advance(lane, 0)
        self._bar.update(lane, completed=event.step)
        pace = f"{rate(task.speed, 1)} examples/s" if event.stage == "evaluate" and task.speed else ""
        self._bar.update(
            lane,
            description=f"lane {event.lane}: {event.label} · {event.stage or 'starting'}",
            count=f"{event.step}/{event.steps}" if event.steps else "",
            detail=f"loss {event.loss:.3f}" if event.stage == "train" else pace,
            stage=stage,
        )

    def _say(self, line: str) -> None:
        self._bar.console.print(line, markup=False, soft_wrap=True)


def describe(record: Record) -> str:
    """Return a record as one line: its label, its time and its scores, or its error."""
    if record.status == "failed":
        return f"{record.trial.label} FAILED: {record.error}"
    cost = record.cost
    parts = [
        record.trial.label,
        f"{cost.train_seconds:.0f} s training, {cost.evaluate_seconds:.0f} s evaluation",
    ]
    parts += [f"{score.asked.task} {100 * score.value:.1f}" for score in record.scores.values()]
    return " · ".join(parts)


def rate(count: float, seconds: float) -> str:
    """Return a rate as text: three significant digits, or a whole number from 100 on."""
    per_second = count / seconds
    return f"{per_second:,.0f}" if per_second >= 99.5 else f"{per_second:.3g}"


def pace(score: Score) -> str | None:
    """Return the pace of one score, or None if an old record lacks its seconds."""
    return f"{rate(score.asked.count, score.seconds)} examples/s" if score.seconds > 0 else None


def closing_line(scores: Iterable[Score]) -> str | None:
    """Return how many examples were evaluated and the pace of each task, or None without examples.

    The seconds of all lanes are added up; with two lanes, the real pace is about twice as high.
    """
    counts: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for score in scores:
        if score.seconds > 0:
            counts[score.asked.task] = counts.get(score.asked.task, 0) + score.asked.count
            seconds[score.asked.task] = seconds.get(score.asked.task, 0.0) + score.seconds
    if not counts:
        return None
    count, took = sum(counts.values()), sum(seconds.values())
    line = f"evaluated {count:,} examples in {took:.1f} s: {rate(count, took)} examples/s"
    tasks = ", ".join(f"{task} {rate(counts[task], seconds[task])}" for task in counts)
    return f"{line} ({tasks})" if len(counts) > 1 else line
