"""Checks of cores, memory, shared memory, open files, and the folders that a run uses."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal

from bench.errors import without_password
from bench.prepare.doctor.child import ask
from bench.prepare.doctor.finding import Diagnosis, reason, words
from bench.sizes import GIB, in_unit

_LANE_BYTES = 3 * GIB // 2  # a lane on micro needs 0.9 GiB at its peak; the rest is for a search's proxy
_SHARED_BYTES = GIB // 2  # for Ray's object store, which uses the disk if there is less
_OPEN_FILES = 4096  # Ray keeps sockets and logs for every process it starts
_PLACE_SECONDS = 60.0

Role = Literal["output", "data", "models", "cache"]
_LEAST = {"output": GIB, "data": GIB // 10, "models": GIB, "cache": GIB // 10}
_OPTION = {"output": "--output", "data": "--data", "models": "HF_HOME", "cache": "BENCH_CACHE"}


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that a run uses: its disk's free bytes, and why it cannot be written, or "".

    ``free`` is None if the folder is not on a disk.
    """

    role: Role
    path: str
    free: int | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine has; None means not known. All memory is in bytes.

    This process may use ``cores``, at most ``quota`` of them at a time. ``memory`` is the machine's memory,
    ``available`` is its free part, ``limit`` is what the control group allows, and ``shared`` is what is free in
    /dev/shm.
    """

    cores: int
    quota: float | None = None
    memory: int | None = None
    available: int | None = None
    limit: int | None = None
    shared: int | None = None
    open_files: int | None = None
    folders: tuple[Folder, ...] = ()


def look(output: str, data: Path, models: Path, cache: Path) -> Machine:
    """Return what this machine has; ``output`` may be a URL."""
    group = Path("/sys/fs/cgroup")
    memory = _memory()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        quota=_quota(group),
        memory=memory.get("MemTotal"),
        available=memory.get("MemAvailable"),
        limit=_limit(group),
        shared=_free(Path("/dev/shm")) if Path("/dev/shm").is_dir() else None,
        open_files=None if files == resource.RLIM_INFINITY else files,
        folders=(_output(output), _folder("data", data), _folder("models", models), _folder("cache", cache)),
    )


def _memory() -> dict[str, int]:
    with suppress(OSError):
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        return {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines if len(words) == 3}
    return {}


def _quota(group: Path) -> float | None:
    """Return how many cores the control group allows (version 2, then 1)."""
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (group / "cpu.max").read_text().split()
        return int(quota) / int(period)
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = ((group / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    return None


def _limit(group: Path) -> int | None:
    """Return the bytes that the control group allows; version 1 states "no limit" as a huge number."""
    for file in (group / "memory.max", group / "memory" / "memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limit = int(file.read_text())
            return limit if limit < 1 << 60 else None
    return None


def _output(text: str) -> Folder:
    if "://" not in text or text.startswith("file://"):
        return _folder("output", Path(text.removeprefix("file://")))
    answer = ask("place", text, seconds=_PLACE_SECONDS)
    said = [str(each["error"]) for each in answer.said]
    return Folder("output", without_password(text), None, answer.error or "".join(said))


def _folder(role: Role, path: Path) -> Folder:
    """Check a folder, or the folder in which it would be created; nothing is left behind."""
    there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    try:
        if role != "data":  # the data folder is only read
            TemporaryFile(dir=there).close()
    except OSError as error:
        return Folder(role, str(path), _free(there), reason(error))
    return Folder(role, str(path), _free(there))


def _free(path: Path) -> int | None:
    with suppress(OSError):
        return shutil.disk_usage(path).free
    return None


def cores(facts: Machine) -> Iterator[Diagnosis]:
    """Judge the cores: without a GPU, one lane is started for each core."""
    if facts.quota is not None and facts.quota < facts.cores:
        lanes = max(1, int(facts.quota))
        text = f"{facts.cores} visible, but the container may use {facts.quota:g} at a time"
        yield Diagnosis("warn", "cores", text, f"give --lanes {lanes} if you run on the CPU")
    else:
        yield Diagnosis("ok", "cores", str(facts.cores))


def memory(facts: Machine) -> Iterator[Diagnosis]:
    """Judge whether the memory suffices for one lane per core."""
    known = [size for size in (facts.available, facts.limit) if size is not None]
    if not known:
        yield Diagnosis("ok", "memory", "not known on this system")
        return
    usable = min(known)
    limited = f", the container's limit is {in_unit(facts.limit, 'GiB')}" if facts.limit is not None else ""
    text = f"{in_unit(usable, 'GiB')} usable of {in_unit(facts.memory or usable, 'GiB')}{limited}"
    lanes = usable // _LANE_BYTES
    if not lanes:
        yield Diagnosis(
            "FAIL",
            "memory",
            text,
            f"free some, or use a larger machine: a lane takes about {in_unit(_LANE_BYTES, 'GiB')}",
        )
    elif lanes < facts.cores:
        fix = f"give --lanes {lanes} if you run on the CPU: a lane takes about {in_unit(_LANE_BYTES, 'GiB')}"
        yield Diagnosis("warn", "memory", text, fix)
    else:
        yield Diagnosis("ok", "memory", text)


def shared(facts: Machine) -> Iterator[Diagnosis]:
    """Judge /dev/shm, where Ray keeps its objects."""
    if facts.shared is None:
        yield Diagnosis("ok", "/dev/shm", "not known on this system")
    elif facts.shared < _SHARED_BYTES:
        fix = "start the container with --shm-size=2g: Ray is slow with less, and --lanes 0 does not need it"
        yield Diagnosis("warn", "/dev/shm", f"{in_unit(facts.shared, 'GiB')} free", fix)
    else:
        yield Diagnosis("ok", "/dev/shm", f"{in_unit(facts.shared, 'GiB')} free")


def open_files(facts: Machine) -> Iterator[Diagnosis]:
    """Judge how many files a process may open."""
    if facts.open_files is not None and facts.open_files < _OPEN_FILES:
        yield Diagnosis("warn", "open files", f"at most {facts.open_files}", "run ulimit -n 65536 before bench")
    else:
        yield Diagnosis("ok", "open files", "no limit" if facts.open_files is None else f"at most {facts.open_files}")


def folders(facts: Machine) -> Iterator[Diagnosis]:
    """Judge whether the folders can be written and have room."""
    for folder in facts.folders:
        option = _OPTION[folder.role]
        if folder.trouble:
            fix = f"choose another folder with {option}"
            yield Diagnosis("FAIL", folder.role, f"{folder.path}: {words(folder.trouble)}", fix)
        elif folder.free is None:
            yield Diagnosis("ok", folder.role, f"{folder.path} can be written")
        elif folder.free < _LEAST[folder.role]:
            text = f"{folder.path}: {in_unit(folder.free, 'GiB')} free"
            yield Diagnosis(
                "warn",
                folder.role,
                text,
                f"make room (bench clean shrinks a run folder), or choose another folder with {option}",
            )
        else:
            yield Diagnosis("ok", folder.role, f"{folder.path}: {in_unit(folder.free, 'GiB')} free")


CHECKS = (cores, memory, shared, open_files, folders)
