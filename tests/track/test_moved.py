"""A run folder whose database was written while the folder was at another place."""

import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.errors import StoreError
from bench.track import client as tracked
from bench.track.command_run import command_run
from bench.track.moved import ARTIFACTS, follow, local_folder
from tests.track.conftest import another_process, client, runs

NAME = "o'brien's a%20b?c #1 {ü}"


@pytest.fixture
def root(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder with a command whose run in MLflow has a file."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (root := tmp_path / "before" / NAME).mkdir(parents=True)
    shutil.copy(database, root)
    write(root)
    return root


def write(root: Path, text: str = "first") -> str:
    """Write a file as a command in a process of its own does, and return the id of its run."""
    another_process()
    connected = tracked.connect(root)
    experiment = tracked.open_experiment(connected, "small", root).experiment_id
    run = command_run(connected, experiment, "small", root, "bench run")
    connected.log_text(run, text, "reports/notes.txt")
    return run


def read(root: Path, run: str) -> str:
    """Return the file of a run, which must be in the run folder, as MLflow gives it to anyone who asks."""
    reader = client(root)
    place = local_folder(reader.get_run(run).info.artifact_uri)
    assert place is not None
    assert place.is_relative_to(root / ARTIFACTS)
    (scratch := root.parent / "downloads").mkdir(exist_ok=True)
    return Path(reader.download_artifacts(run, "reports/notes.txt", str(scratch))).read_text(encoding="utf-8")


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_moved_folder_keeps_its_runs_and_leaves_nothing_at_the_old_place(root: Path, tmp_path: Path) -> None:
    (run,) = [each.info.run_id for each in runs(root).values()]
    moved = root.rename(tmp_path / "after?")
    root.parent.rmdir()
    another_process()

    tracked.connect(moved)

    assert read(moved, run) == "first"
    assert write(moved, "second") == run
    assert read(moved, run) == "second"
    assert not root.parent.exists()


def test_a_copy_writes_nothing_into_the_original(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    before = files(root)

    run = write(copy, "second")

    assert read(copy, run) == "second"
    assert files(root) == before


def test_a_folder_behind_a_link_is_at_its_own_place(root: Path, tmp_path: Path) -> None:
    before = (root / "mlflow.db").read_bytes()
    (link := tmp_path / "link").symlink_to(root)

    tracked.connect(link)

    assert (root / "mlflow.db").read_bytes() == before


def test_files_of_another_run_folder_stay_there(root: Path, tmp_path: Path) -> None:
    (other := tmp_path / "other").mkdir()
    shutil.copy(root / "mlflow.db", other)

    tracked.connect(other)

    assert client(other).get_experiment_by_name("small").artifact_location == (root / ARTIFACTS).as_uri()


def test_a_shared_database_whose_folder_was_moved_says_the_command_that_mends_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(root / "mlflow.db", tmp_path / "mine.db")
    moved = root.rename(tmp_path / "after")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mine.db")

    with pytest.raises(StoreError) as raised:
        write(moved, "second")

    said = str(raised.value)
    link = said[said.index("ln -s") :].removesuffix(", then run bench sync.")
    assert not root.exists()
    subprocess.run(link, shell=True, check=True)
    write(moved, "second")
    assert sorted(path.read_text(encoding="utf-8") for path in (moved / ARTIFACTS).rglob("notes.txt")) == [
        "first",
        "second",
    ]


def test_a_database_that_cannot_be_changed_says_the_command_that_mends_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = root.rename(tmp_path / "after")
    opened = sqlite3.connect

    def read_only(path: Path, **settings: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = opened(f"{path.as_uri()}?mode=ro", uri=True, **settings)
        return connection

    monkeypatch.setattr(sqlite3, "connect", read_only)

    with pytest.raises(
        StoreError, match=r"cannot be changed \(.*readonly.*Make it writable and run bench sync --output"
    ):
        follow(moved / "mlflow.db", moved)
