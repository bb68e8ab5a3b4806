"""A job of a lane: a trial, and what it still lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from bench.values.scores import ScoreSpec
from bench.values.trial import Trial


@dataclass(frozen=True, slots=True)
class Job:
    """One job of a lane: a trial, and the scores that it still lacks.

    ``snapshots`` are the steps of the training whose change other trials need; ``rungs`` are the scores that a search
    takes at each of these steps, before it decides whether to stop the training.
    """

    trial: Trial
    asked: tuple[ScoreSpec, ...]
    snapshots: tuple[int, ...] = ()
    rungs: tuple[ScoreSpec, ...] = ()

    def joined(self, other: Job) -> Job:
        """Return one job that does both, for two jobs of the same trial."""
        asked = self.asked if not other.asked else tuple(dict.fromkeys((*self.asked, *other.asked)))
        snapshots = tuple(sorted({*self.snapshots, *other.snapshots}))
        rungs = self.rungs if other.rungs else ()  # a training that one job needs whole is not stopped
        return Job(self.trial, asked, snapshots, rungs)

    @property
    def covers(self) -> tuple[object, ...]:
        """What the job produces: its scores and its snapshots."""
        return (self.asked, self.snapshots)

    def to_json(self) -> dict[str, Any]:
        """Return the job as JSON."""
        return {
            "trial": self.trial.to_json(),
            "asked": [asdict(asked) for asked in self.asked],
            "snapshots": list(self.snapshots),
            "rungs": [asdict(asked) for asked in self.rungs],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a job back from JSON."""
        asked, rungs = (tuple(ScoreSpec(**item) for item in data[name]) for name in ("asked", "rungs"))
        return cls(Trial.from_json(data["trial"]), asked, tuple(data["snapshots"]), rungs)
