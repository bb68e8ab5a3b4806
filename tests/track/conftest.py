"""What MLflow has of a run folder whose suite is named small."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.model import checkpoints
from bench.plan import suite
from bench.plan.suite import Suite
from bench.store.run_folder import Store
from bench.track import tracking_uri
from tests.making.mirrors import DARE, LORA, ZERO_SHOT, put, small


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Take back the settings that the tracker leaves for mlflow."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def store(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A run folder with zero-shot, lora and dare, of a suite named small whose base model is of revision m."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(checkpoints, "revision", lambda folder: "m")
    monkeypatch.setattr(checkpoints, "resolve", Path)
    monkeypatch.setitem(suite.SUITES, "micro", small())
    monkeypatch.setattr(Suite, "here", lambda self: True)
    store = Store(tmp_path / "o'brien's a%20b?c runs #1 {ü}")
    store.prepare()
    shutil.copy(database, store.root)
    for trial, values in (
        (ZERO_SHOT, {"old": 0.75, "older": 1.0, "new": 0.25}),
        (LORA, {"old": 0.25, "older": 0.5, "new": 1.0}),
        (DARE, {"old": 0.5, "older": 1.0, "new": 0.75}),
    ):
        store.folder(trial).mkdir()
        put(store, trial, values)
    return store


def client(root: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri(root))


def runs(root: Path) -> dict[str, Any]:
    """Return every run of the suite's experiment by name."""
    reader = client(root)
    found = reader.search_runs([reader.get_experiment_by_name("small").experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def another_process() -> None:
    """Forget what MLflow keeps in this process of the places of files, as if the next command had its own process."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()
