"""What commands that train start from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def runs(database: Path, tmp_path: Path) -> Path:
    """A run folder that has nothing but a database of MLflow, because creating one takes seconds."""
    folder = tmp_path / "runs"
    folder.mkdir()
    shutil.copy(database, folder / "mlflow.db")
    return folder
