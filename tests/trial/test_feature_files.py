"""Vision features in files: what is read has the bits that were written, whatever other lanes and the disk do."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.model.family import Features
from bench.store.shared_folder import Claim, SharedFolder
from bench.trial.feature_files import FeatureFiles

LIMIT = 1 << 20


def group(seed: int = 0, values: int = 64) -> list[Features]:
    """Two images, with tensors of several dtypes and shapes."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(2, 3, values, generator=generator)
    return [
        {"states": states[0].to(torch.bfloat16), "size": torch.tensor(3)},
        {"states": states[1, :2].to(torch.bfloat16), "size": torch.tensor(2)},
    ]


def same(one: Sequence[Features] | None, other: Sequence[Features]) -> bool:
    return (
        one is not None
        and [part.keys() for part in one] == [part.keys() for part in other]
        and all(
            a[name].dtype == b[name].dtype and torch.equal(a[name], b[name])
            for a, b in zip(one, other, strict=True)
            for name in b
        )
    )


def claimed(files: FeatureFiles, key: str | None) -> Claim:
    claim = files.claim(key)
    assert claim is not None
    return claim


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_another_lane_reads_what_was_written(tmp_path: Path) -> None:
    written = FeatureFiles(tmp_path, LIMIT).write("a", group())

    assert same(written, group())
    assert same(FeatureFiles(tmp_path, LIMIT).read("a"), group())
    assert FeatureFiles(tmp_path, LIMIT).read("b") is None


def test_nothing_touches_the_disk_without_a_key_or_a_limit(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    for files, key in ((FeatureFiles(folder, LIMIT), None), (FeatureFiles(folder, 0), "a")):
        claim = claimed(files, key)
        assert same(files.write(key, group()), group())
        claim.release()
        assert files.read(key) is None

    assert not folder.exists()


@pytest.mark.parametrize("how", ["cut", "one bit", "empty", "text", "another layout"])
def test_a_damaged_file_counts_as_missing_and_is_written_again(how: str, tmp_path: Path) -> None:
    FeatureFiles(tmp_path, LIMIT).write("a", group())
    path = tmp_path / "a.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    texts = {
        "cut": path.read_bytes()[:-5],
        "one bit": bytes(data),
        "empty": b"",
        "text": b"no features",
        "another layout": path.read_bytes().replace(b"crc32", b"crc64"),
    }
    path.write_bytes(texts[how])
    files = FeatureFiles(tmp_path, LIMIT)

    assert files.read("a") is None
    assert same(files.write("a", group()), group())
    assert same(FeatureFiles(tmp_path, LIMIT).read("a"), group())


def test_the_least_recently_used_files_go_first_and_the_bytes_stay_within_the_limit(tmp_path: Path) -> None:
    FeatureFiles(tmp_path, LIMIT).write("size", group())
    (tmp_path / "size.safetensors").rename(tmp_path / "0.safetensors")
    limit = 10 * (tmp_path / "0.safetensors").stat().st_size
    for place in range(1, 10):
        FeatureFiles(tmp_path, limit).write(str(place), group(place))
    for place in range(10):
        os.utime(tmp_path / f"{place}.safetensors", (1e9 + place, 1e9 + place))
    lane = FeatureFiles(tmp_path, limit)
    assert lane.read("0") is not None  # now 1 and 2 are the oldest

    lane.write("10", group(10))

    assert names(tmp_path) == sorted(f"{place}.safetensors" for place in (0, 3, 4, 5, 6, 7, 8, 9, 10))
    for place in range(11, 40):
        lane.write(str(place), group(place))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= limit
    assert same(lane.read("39"), group(39))


def test_a_group_larger_than_the_limit_is_not_written(tmp_path: Path) -> None:
    files = FeatureFiles(tmp_path, 100)

    assert same(files.write("a", group()), group())
    assert not names(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a file that is mapped")
def test_a_lane_keeps_what_it_has_mapped_after_another_has_deleted_the_file(tmp_path: Path) -> None:
    held = FeatureFiles(tmp_path, LIMIT).write("a", group(values=4096))

    (tmp_path / "a.safetensors").unlink()

    assert same(held, group(values=4096))


def test_a_folder_that_cannot_be_written_gives_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    files = FeatureFiles(tmp_path / "file" / "cache", LIMIT)

    for key in ("a", "b"):
        claim = claimed(files, key)
        assert same(files.write(key, group()), group())
        claim.release()
        assert files.read(key) is None

    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "BENCH_CACHE" in caplog.text


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), PermissionError(errno.EACCES, "Permission denied")]
)
def test_a_full_disk_gives_one_warning_and_leaves_no_draft(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files = FeatureFiles(tmp_path, LIMIT)
    files.write("known", group(1))

    def full(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[:6])
        raise error

    monkeypatch.setattr(Path, "write_bytes", full)

    assert same(files.write("a", group()), group())
    assert same(files.write("b", group()), group())
    assert names(tmp_path) == ["known.safetensors"]
    assert same(files.read("known"), group(1))
    assert len(caplog.records) == 1


def test_one_lane_computes_a_group_and_the_others_wait(tmp_path: Path) -> None:
    one, other = FeatureFiles(tmp_path, LIMIT), FeatureFiles(tmp_path, LIMIT)

    claim = claimed(one, "a")

    assert other.claim("a") is None
    claimed(other, "b").release()
    claim.release()
    claimed(other, "a").release()
    assert names(tmp_path) == []


def test_a_file_that_another_lane_deletes_while_it_is_opened_counts_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FeatureFiles(tmp_path, LIMIT).write("a", group())
    mapped = torch.UntypedStorage.from_file

    def evicted(*words: Any, **named: Any) -> Any:
        (tmp_path / "a.safetensors").unlink()
        return mapped(*words, **named)

    monkeypatch.setattr(torch.UntypedStorage, "from_file", evicted)

    assert FeatureFiles(tmp_path, LIMIT).read("a") is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_other_users_may_read_a_file_as_any_new_file(tmp_path: Path) -> None:
    FeatureFiles(tmp_path, LIMIT).write("a", group())
    (fresh := tmp_path / "fresh").touch()

    assert (tmp_path / "a.safetensors").stat().st_mode == fresh.stat().st_mode


def test_a_claim_of_another_user_that_may_not_be_deleted_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path := tmp_path / "old.lock").write_bytes(b"")
    os.utime(path, (1e9, 1e9))
    unlink = Path.unlink

    def refused(self: Path, missing_ok: bool = False) -> None:
        if self.name == "old.lock":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)

    FeatureFiles(tmp_path, LIMIT).write("a", group())

    assert names(tmp_path) == ["a.safetensors", "old.lock"]


def test_counting_the_bytes_deletes_nothing(tmp_path: Path) -> None:
    (path := tmp_path / "old.lock").write_bytes(b"")
    os.utime(path, (1e9, 1e9))

    assert SharedFolder(tmp_path, LIMIT, ".safetensors").bytes == 0
    assert names(tmp_path) == ["old.lock"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from bench.trial.feature_files import FeatureFiles
from tests.trial.test_feature_files import group
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
files = FeatureFiles(Path(sys.argv[1]), 1 << 20)
files.claim("a")
files.write("a", group())
"""


@pytest.mark.slow
def test_a_lane_that_is_killed_before_the_rename_leaves_the_folder_usable(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [Path(name).suffix for name in names(tmp_path)] == [".lock", ".tmp"]
    files = FeatureFiles(tmp_path, LIMIT)

    assert files.read("a") is None
    claim = claimed(files, "a")
    assert same(files.write("a", group()), group())
    claim.release()

    for path in tmp_path.glob("*.tmp"):
        os.utime(path, (1e9, 1e9))
    FeatureFiles(tmp_path, LIMIT).write("b", group())
    assert names(tmp_path) == ["a.safetensors", "b.safetensors"]


def test_claims_of_killed_lanes_are_deleted_an_hour_later(tmp_path: Path) -> None:
    for name, age in (("old", 4000), ("new", 10)):
        (path := tmp_path / f"{name}.lock").write_bytes(b"")
        os.utime(path, (time.time() - age,) * 2)

    FeatureFiles(tmp_path, LIMIT).write("a", group())

    assert names(tmp_path) == ["a.safetensors", "new.lock"]


def test_the_bytes_of_all_files_are_counted(tmp_path: Path) -> None:
    folder = SharedFolder(tmp_path / "cache", 0, ".safetensors")
    assert folder.bytes == 0
    FeatureFiles(tmp_path / "cache", LIMIT).write("a", group())

    assert folder.bytes == folder.file("a").stat().st_size
