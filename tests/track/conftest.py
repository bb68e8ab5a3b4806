"""What MLflow has of a run folder whose suite is named small."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.track import tracking_uri


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Take back the settings that the tracker leaves for mlflow."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


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
