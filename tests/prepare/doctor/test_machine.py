"""What is said of cores, memory, open files and folders."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from bench.prepare.doctor import machine
from bench.prepare.doctor.diagnosis import Diagnosis
from bench.sizes import GIB
from tests.prepare.doctor.diagnoses import assert_says


@pytest.mark.parametrize(
    ("found", "level", "said"),
    [
        (machine.cores(2, None), "ok", r"cores +2$"),
        (machine.cores(2, 2.0), "ok", r"cores +2$"),
        (machine.cores(64, 2.5), "warn", r"use 2\.5 at a time.*--lanes 2"),
        (machine.memory(2, 16 * GIB, 8 * GIB, None), "ok", r"8\.0 GiB usable of 16\.0 GiB$"),
        (machine.memory(2, None, None, None), "ok", r"not known on this system"),
        (machine.memory(2, 16 * GIB, 2 * GIB, None), "warn", r"2\.0 GiB usable of 16\.0 GiB.*--lanes 1"),
        (machine.memory(2, 16 * GIB, 8 * GIB, GIB), "FAIL", r"1\.0 GiB usable.*the container's limit is 1\.0 GiB"),
        (machine.shared_memory(GIB), "ok", r"/dev/shm +1\.0 GiB free$"),
        (machine.shared_memory(None), "ok", r"not known on this system"),
        (machine.shared_memory(64 << 20), "warn", r"0\.1 GiB free.*--shm-size"),
        (machine.open_files(65536), "ok", r"at most 65536$"),
        (machine.open_files(resource.RLIM_INFINITY), "ok", r"no limit$"),
        (machine.open_files(1024), "warn", r"at most 1024.*ulimit -n"),
        (machine.room("output", "runs", 100 * GIB), "ok", r"output +runs: 100\.0 GiB free$"),
        (machine.room("output", "s3://bucket/runs", None), "ok", r"s3://bucket/runs can be written$"),
        (machine.room("output", "runs", GIB, "Permission denied"), "FAIL", r"runs: Permission denied.*--output"),
        (machine.room("output", "runs", GIB // 2), "warn", r"runs: 0\.5 GiB free.*bench clean"),
    ],
)
def test_every_part_of_a_machine_is_judged(found: Diagnosis, level: str, said: str) -> None:
    assert_says(found, level, said)


def test_a_control_groups_limits_are_read_in_both_versions(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n", encoding="utf-8")
    (tmp_path / "memory.max").write_text("1073741824\n", encoding="utf-8")
    assert machine._quota(tmp_path) == 1.5
    assert machine._limit(tmp_path) == 1 << 30

    (tmp_path / "cpu.max").write_text("max 100000\n", encoding="utf-8")
    (tmp_path / "memory.max").write_text("max\n", encoding="utf-8")
    assert machine._quota(tmp_path) is None
    assert machine._limit(tmp_path) is None

    old = tmp_path / "old"
    for name, text in (("cpu/cpu.cfs_quota_us", "50000"), ("cpu/cpu.cfs_period_us", "100000")):
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_text(text, encoding="utf-8")
    (old / "memory").mkdir()
    (old / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712", encoding="utf-8")
    assert machine._quota(old) == 0.5
    assert machine._limit(old) is None  # version 1 says a huge number for none


def test_a_folder_that_is_not_there_yet_is_checked_in_the_folder_that_would_hold_it(tmp_path: Path) -> None:
    assert_says(machine.folder("output", tmp_path / "a" / "b"), "ok", r"a/b: \d+\.\d GiB free$")
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_the_cache_says_what_vision_features_take(tmp_path: Path) -> None:
    (features := tmp_path / "features.1").mkdir()
    with (features / "a.safetensors").open("wb") as file:
        file.truncate(3 * 10**9)  # without blocks

    found = list(machine.check(str(tmp_path), tmp_path, tmp_path, tmp_path))[-1]

    assert_says(found, "ok", r"cache .*GiB free; vision features take 3\.0 GB$")


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a folder that nobody can write")
def test_a_folder_that_cannot_be_written_says_why() -> None:
    assert_says(machine.folder("output", Path("/proc/runs")), "FAIL", r"/proc/runs: .*--output")
    assert machine.folder("data", Path("/proc/data")).level != "FAIL"  # data are only read
