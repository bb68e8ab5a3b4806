from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections import namedtuple
from pathlib import Path

import pytest

from bench.errors import DiskFullError, TrialError, WriteError
from bench.store.disk_errors import refusal, writing
from bench.store.drafts import put, staged, sweep, sweep_stages

Usage = namedtuple("Usage", "total used free")
TORCH = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")


def led(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


class RemoteError(Exception):
    """What Ray raises here for an exception of another process."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("ray::work() failed")
        self.cause = cause


ENOSPC = OSError(errno.ENOSPC, "No space left on device")
FULL = [
    ENOSPC,
    led(RuntimeError("a caption"), ENOSPC),
    led(
        TrialError("The search failed: it"), led(ValueError("it"), sqlite3.OperationalError("database or disk is full"))
    ),
    Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
    RuntimeError("Traceback …\nOSError: [Errno 28] No space left on device"),
    RemoteError(ENOSPC),
]


@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
def test_a_full_disk_is_found_behind_every_error_that_hides_it(error: Exception, tmp_path: Path) -> None:
    found = refusal(error, tmp_path)

    assert isinstance(found, DiskFullError)
    assert str(found).startswith(f"The disk is full: {tmp_path} has ")
    assert found.reason.endswith("MB free.")
    assert str(found).endswith("Free some space, then run the same command again; it keeps what is finished.")


def test_a_quota_and_a_read_only_disk_have_lines_of_their_own(tmp_path: Path) -> None:
    assert str(refusal(OSError(errno.EDQUOT, "x"), tmp_path)).startswith("The disk quota of ")
    line = str(refusal(OSError(errno.EROFS, "x", str(tmp_path / "runs" / "a")), tmp_path))
    assert line.startswith(f"{tmp_path / 'runs'} cannot be written: Read-only file system.")


@pytest.mark.parametrize(("free", "full"), [(100_000, True), (10_000_000_000, False)])
@pytest.mark.parametrize("error", [TORCH, sqlite3.OperationalError("disk I/O error")])
def test_an_error_with_several_reasons_means_a_full_disk_only_if_little_space_is_left(
    error: Exception, free: int, full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, free))

    assert isinstance(refusal(error, tmp_path), DiskFullError) == full


@pytest.mark.parametrize(
    "error", [ValueError("28"), OSError(errno.ENOENT, "x"), PermissionError(errno.EACCES, "x"), KeyError("full")]
)
def test_other_errors_are_not_blamed_on_the_disk(error: Exception, tmp_path: Path) -> None:
    assert refusal(error, tmp_path) is None


def test_temporary_files_that_nothing_takes_name_their_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 0 if "scratch" in str(path) else 10**12))
    error = FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/a', '/b']")

    assert str(refusal(error, tmp_path)).startswith(f"The disk is full: {tmp_path / 'scratch'} has 0.0 MB free.")
    assert str(refusal(ENOSPC, tmp_path)).startswith(f"The disk is full: {tmp_path / 'scratch'} ")


def test_every_error_of_the_system_while_a_file_is_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"a cannot be written: File too large\."), writing(tmp_path / "a"):
        raise OSError(errno.EFBIG, "x")
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"file/b cannot be written: (Not a directory|File exists)"):
        put(tmp_path / "file" / "b", b"")


def test_a_stage_that_fails_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old", encoding="utf-8")

    def write() -> None:
        with staged(tmp_path) as here:
            (here / "a").write_text("new", encoding="utf-8")
            (here / "b").write_text("half", encoding="utf-8")
            raise led(RuntimeError("a figure"), ENOSPC)

    with pytest.raises(DiskFullError, match=f"The disk is full: {tmp_path} "):
        write()

    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {"a": "old"}


def test_drafts_of_dead_processes_are_swept_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    living, dead = os.getppid(), 2**22 + 1  # above the largest number of a process
    for pid in (living, dead):
        (tmp_path / f"record.json.{pid}.tmp").touch()
        (tmp_path / "deep" / f"change.{pid}.tmp" / "inner").mkdir(parents=True)
    (tmp_path / "notes.tmp").touch()
    (tmp_path / f".{dead}.tmp").mkdir()

    sweep_stages(tmp_path)
    assert not (tmp_path / f".{dead}.tmp").exists()
    assert (tmp_path / f"record.json.{dead}.tmp").is_file()
    sweep(tmp_path)

    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.tmp")}
    assert left == {"notes.tmp", f"record.json.{living}.tmp", f"deep/change.{living}.tmp"}
