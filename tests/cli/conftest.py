"""What the tests of several commands start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.main import main
from bench.plan.suite import Suite


@pytest.fixture
def one_mlflow(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One MLflow database for all tests, because creating one takes seconds."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.getbasetemp()}/mlflow.db")


@pytest.fixture
def tiny_words(tiny_suite: Suite, tiny_tasks: Path, tmp_path: Path) -> list[str]:
    """The words after --methods of a run on the suite tiny."""
    return ["--suite", "tiny", "--plugin", str(tiny_tasks), "--ranks", "2", "--output", str(tmp_path / "runs")]


@pytest.fixture
def two_runs(one_mlflow: None, tiny_words: list[str], tmp_path: Path) -> Path:
    """A run folder with a run of two methods, and after it a run of one of them."""
    for methods in ("lora,dare", "lora"):
        assert main(["run", "--methods", methods, *tiny_words, "--lanes", "0"]) == 0
    return tmp_path / "runs"
