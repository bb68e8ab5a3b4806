"""Whole commands on a run folder in an object store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.store.drafts import put
from bench.store.places import place
from bench.store.run_folder import Store

URL = "bucket://lab/runs"
CELLS = ("--suite", "tiny", "--methods", "lora,dare", "--ranks", "2", "--set", "recipe.updates=3")


def run(verb: str, output: str, *words: str) -> int:
    return main.main([verb, *CELLS, "--output", output, *words])


def results(store: Store) -> dict[str, tuple[object, bytes]]:
    """Return every trial's scores and the bytes of what it learnt."""
    found: dict[str, tuple[object, bytes]] = {}
    for record in store.records():
        weights = store.folder(record.trial) / "change" / "adapter_model.safetensors"
        scores = {key: score.metrics for key, score in record.scores.items()}
        found[record.trial.id] = (scores, weights.read_bytes() if weights.is_file() else b"")
    return found


@pytest.fixture
def tracked(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database of MLflow outside the run folder."""
    path = tmp_path / "mlflow" / "mlflow.db"
    path.parent.mkdir()
    shutil.copy(database, path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    return path


@pytest.mark.usefixtures("tiny_installed", "bucket")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--lanes", "0"), "Set MLFLOW_TRACKING_URI to an MLflow server"),
        (("study", "table1", "--lanes", "0"), "Set MLFLOW_TRACKING_URI to an MLflow server"),
        (("search",), "Set MLFLOW_TRACKING_URI to an MLflow server"),
        (("ui",), "Set MLFLOW_TRACKING_URI to an MLflow server"),
    ],
)
def test_a_database_in_an_object_store_is_refused_before_anything_starts(
    words: Sequence[str], said: str, bucket: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    suite = () if words[0] == "ui" else ("--suite", "tiny", "--ranks", "2")

    assert main.main([*words, *suite, "--output", URL]) == 2

    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(bucket.folder.iterdir()) == []


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_installed", "bucket", "tracked")
def test_a_search_in_an_object_store_wants_a_storage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["search", "--suite", "tiny", "--methods", "lora", "--ranks", "2", "--output", URL]) == 2
    assert "Name one with --storage" in capsys.readouterr().err


@pytest.mark.usefixtures("tiny_installed", "tracked")
def test_memory_is_refused_where_lanes_are_other_processes(capsys: pytest.CaptureFixture[str], memory: Path) -> None:
    assert run("run", str(memory), "--lanes", "1") == 2
    assert "Add --lanes 0" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_installed")
def test_a_run_gives_the_same_bytes_in_an_object_store_as_on_a_disk(
    bucket: Any, tracked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk, remote = Store(tmp_path / "runs"), Store(place(URL))

    assert run("run", URL, "--lanes", "0", "--rewind", "0.5,1") == 0
    assert run("run", str(disk.root), "--lanes", "0") == 0
    capsys.readouterr()
    assert run("run", URL, "--lanes", "0") == 0

    assert "cached: 3 of 3 trials" in capsys.readouterr().err
    ours = results(remote)
    assert {key: ours[key] for key in results(disk)} == results(disk)
    for name in ("command.json", "leaderboard.csv", "leaderboard.md", "curves/new_squares-r2.png"):
        assert len(list(remote.root.glob(f"reports/*/{name}"))) == (1 if name.startswith("curves") else 2), name
    assert not (remote.root / ".lock").is_file()
    assert sorted(path.name for path in (tracked.parent / "mlartifacts").rglob("adapter_model.safetensors"))
    assert main.main(["ls", "trials", "--output", URL]) == 0
    assert main.main(["leaderboard", "--output", URL]) == 0
    assert main.main(["clean", "--output", URL]) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_installed", "tracked")
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_run_that_was_killed_goes_on_without_repeating_what_it_finished(
    share: float, bucket: Any, kill_at: Callable[[int | None], None]
) -> None:
    assert run("run", URL, "--lanes", "0") == 0
    puts = len(bucket.log)
    whole = results(Store(place(URL)))
    for file in bucket.folder.iterdir():
        file.unlink()

    kill_at(int(share * puts))
    with pytest.raises(BaseException, match=r"^$"):
        run("run", URL, "--lanes", "0")
    kill_at(None)
    finished = {record.trial.id: record for record in Store(place(URL)).records() if record.status == "done"}
    lock = json.loads((place(URL) / ".lock").read_text(encoding="utf-8"))
    bucket.log.clear()
    put(place(URL) / ".lock", json.dumps({**lock, "pid": 2**22 + 1}).encode())  # that process is not there any more
    assert run("run", URL, "--lanes", "0") == 0

    assert results(Store(place(URL))) == whole
    for record in finished.values():
        folder = record.trial.folder
        assert not [line for line in bucket.log if f"{folder}/change/" in line]
