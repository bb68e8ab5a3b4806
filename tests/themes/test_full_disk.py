"""A disk that fills at any write stops the command in one line, and the same command goes on once there is space."""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import main
from bench.plan.suite import Suite

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
TRIALS = {
    *("models.json.tmp", "TRIAL/checkpoint.pt.tmp", "TRIAL/change.tmp/adapter_model.safetensors"),
    *("TRIAL/change.tmp/adapter_config.json", "TRIAL/losses.csv.tmp", "TRIAL/fitted.json.tmp", "TRIAL/record.json.tmp"),
    *("TRIAL/scores/KEY.part-0.jsonl.tmp", "TRIAL/scores/KEY.part-0.jsonl", "TRIAL/scores/KEY.jsonl.tmp"),
}
RUN = "reports/NAME"
NOTES = {f"{RUN}/command.json.tmp", "reports/latest.json.tmp"}
BOARD = {f"{RUN}/.tmp/leaderboard.{suffix}" for suffix in ("csv", "md", "tex", "txt")}
COMMANDS = {
    "run": (
        ("run", "--methods", "lora,dare", "--rewind", "0.5,1"),
        {*NOTES, *BOARD, *(f"{RUN}/curves/.tmp/new_squares-r2.{suffix}" for suffix in ("csv", "png", "svg"))},
    ),
    "study": (
        ("study", "fig1"),
        {*NOTES, f"{RUN}/study.json.tmp", *(f"{RUN}/.tmp/fig1.{suffix}" for suffix in ("csv", "md", "png", "svg"))},
    ),
}


class Cut(io.RawIOBase):
    """A file of which the disk takes the first half of the first write, and nothing after it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with real_open(self._path, "wb") as file:
            file.write(bytes(data)[: len(data) // 2])
        raise FULL


real_open = io.open


class Disk:
    """A disk that is full from the first file under ``root`` that it has not refused yet, until it is freed."""

    def __init__(self, root: Path) -> None:
        self.refused: set[str] = set()
        self.root = root
        self._full = False

    def free(self) -> None:
        self._full = False

    def takes(self, path: Path) -> bool:
        """Whether the disk takes a file; the number of a process in its name does not count."""
        if not path.is_relative_to(self.root) or "mlartifacts" in path.parts:
            return True
        name = re.sub(r"\d+\.tmp", "tmp", str(path.relative_to(self.root)))
        if not self._full and name not in self.refused:
            self._full = True
            self.refused.add(name)
        return not self._full

    def open(
        self, file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None, *rest: Any, **options: Any
    ) -> Any:
        if "b" not in mode:
            encoding = io.text_encoding(encoding)  # a warning names the caller, not this file
        path = Path(os.fsdecode(file)) if isinstance(file, str | bytes | os.PathLike) else Path()
        if not set(mode) & set("wax+") or self.takes(path):
            return real_open(file, mode, buffering, encoding, *rest, **options)
        whole = io.BufferedWriter(Cut(path))
        return whole if "b" in mode else io.TextIOWrapper(whole, encoding="utf-8")

    def save_file(self, tensors: Any, path: Path, *arguments: Any) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        if not self.takes(path):
            path.write_bytes(b"half")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        save_file(tensors, path, *arguments)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk(tmp_path / "runs")
    for module in (io, builtins):
        monkeypatch.setattr(module, "open", made.open)
    monkeypatch.setattr("bench.model.saving.save_file", made.save_file)
    return made


def started(root: Path, database: Path) -> Path:
    root.mkdir()
    with database.open("rb") as made, real_open(root / "mlflow.db", "wb") as copy:  # to make one takes seconds
        shutil.copyfileobj(made, copy)
    return root


def results(root: Path) -> dict[str, Any]:
    """Return what the trials have learnt, and the scores that their records name."""
    found: dict[str, Any] = {}
    for path in root.glob("*/record.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["status"] == "done"
        scores = {
            key: (score["metrics"], (path.parent / score["file"]).read_text(encoding="utf-8"))
            for key, score in record["scores"].items()
        }
        change = [part.read_bytes() for part in sorted((path.parent / "change").glob("*"))]
        found[record["id"]] = (
            scores,
            change,
            [part.read_text(encoding="utf-8") for part in path.parent.glob("losses.csv")],
        )
    return found


def told(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if "mlartifacts" not in path.parts}


def _kind(name: str) -> str:
    """Return the name of a file without the ids, digests and names of runs in it."""
    for pattern, word in (
        ("scores/[0-9a-f]{12}", "scores/KEY"),
        ("^[a-z0-9_-]+-[0-9a-f]{12}/", "TRIAL/"),
        ("^reports/[^/]+-[0-9a-f]{6}/", f"{RUN}/"),
    ):
        name = re.sub(pattern, word, name)
    return name


@pytest.mark.slow
@pytest.mark.parametrize("verb", COMMANDS)
def test_every_file_is_refused_once_and_the_results_are_those_of_an_undisturbed_command(
    verb: str, tiny_installed: Suite, tmp_path: Path, database: Path, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    command, files = COMMANDS[verb]
    words = [*command, "--suite", "tiny", "--ranks", "2", "--lanes", "0", "--output"]
    whole = started(tmp_path / "whole", database)
    assert main([*words, str(whole)]) == 0
    root, attempts = started(tmp_path / "runs", database), 0

    while main([*words, str(root)]):
        attempts += 1
        error = capsys.readouterr().err
        assert error.splitlines()[-1].startswith(f"bench: The disk is full: {root}")
        assert "Traceback" not in error
        assert "failed" not in error
        assert attempts == len(disk.refused)
        left = told(root)
        assert not [name for name in left if ".tmp" in name or name.endswith("error.txt")]
        results(root)
        disk.free()

    assert results(root) == results(whole)
    assert told(root) == told(whole)
    kinds = {_kind(name) for name in disk.refused}
    assert kinds >= {*TRIALS, *files}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adapter", "merged"])
def test_an_export_that_does_not_fit_leaves_an_empty_folder_for_the_same_command(
    kind: str, tiny_installed: Suite, tmp_path: Path, database: Path, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, disk.root = started(tmp_path / "runs", database), tmp_path / "exported"
    words = ["run", "--suite", "tiny", "--methods", "lora", "--ranks", "2", "--lanes", "0", "--output", str(runs)]
    assert main(words) == 0
    (disk.root / f".{2**22 + 1}.tmp").mkdir(parents=True)  # of a killed export

    while main(["export", "lora-r2-new_squares-s0", f"--{kind}", str(disk.root), "--output", str(runs)]):
        error = capsys.readouterr().err
        assert error.splitlines()[-1].startswith(f"bench: The disk is full: {disk.root}")
        assert "Traceback" not in error
        assert not list(disk.root.iterdir())
        disk.free()

    assert len(disk.refused) >= 2
    assert len(list(disk.root.iterdir())) >= len(disk.refused)
