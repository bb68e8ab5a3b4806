"""The MLflow run of a command."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from bench.track import client as tracked
from bench.track.command_run import command_run
from tests.track.conftest import runs


def test_the_name_and_description_hold_no_host_no_absolute_path_and_no_password(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (root := tmp_path / "runs").mkdir()
    shutil.copy(database, root)
    line = f"bench search --output {root} --storage postgresql://ann:secret@db/bench"
    connected = tracked.connect(root)
    experiment = tracked.open_experiment(connected, "small", root).experiment_id

    first = command_run(connected, experiment, "small", root, line)

    ((name, run),) = runs(root).items()
    shown = f"{name} {run.data.tags['mlflow.note.content']}"
    assert name == "bench search --output …/runs --storage postgresql://…"
    assert not [secret for secret in (str(tmp_path), "secret", socket.gethostname()) if secret in shown]
    assert run.data.tags["command"] == line
    assert command_run(connected, experiment, "small", root, line) == first
