"""Jobs that are done in the command's own process."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.lanes import lanes
from bench.trial.scoring import OnTrialProgress
from bench.values.job import Job
from bench.values.record import Record
from tests.making.trials import TRIAL


def test_progress_is_shown_while_the_trial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = list[str]()

    def train(job: Job, progress: OnTrialProgress) -> Record:
        progress("train", 1, 2, 0.5)
        order.append("half trained")
        progress("train", 2, 2, 0.4)
        return Record(job.trial, "done")

    monkeypatch.setattr(lanes, "_bench", lambda setup: SimpleNamespace(run=train))
    setup: Any = SimpleNamespace(launch=SimpleNamespace(lanes=0), output=tmp_path)

    for event in lanes.run([Job(TRIAL, ())], {}, setup, watch=lambda event: order.append(f"watched {event.step}")):
        order.append(event.kind)

    assert order == ["started", "watched 1", "half trained", "watched 2", "done"]
