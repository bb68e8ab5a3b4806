"""Check cores, memory, shared memory, open files, and the folders that a run uses."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

from bench import environment
from bench.errors import without_password
from bench.prepare.doctor.child import ask
from bench.prepare.doctor.diagnosis import Diagnosis, reason, words
from bench.sizes import GIB, in_unit
from bench.store import places
from bench.store.shared_folder import FEATURES, SharedFolder

_LANE_BYTES = 3 * GIB // 2  # a lane on micro needs 0.9 GiB at its peak; the rest is for a search's proxy
_SHARED_BYTES = GIB // 2  # for Ray's object store, which uses the disk if there is less
_OPEN_FILES = 4096  # Ray keeps sockets and logs for every process it starts
_PLACE_SECONDS = 60.0

# of each folder: the free bytes that it should have, and the option that names it
_FOLDERS = {
    "output": (GIB, "--output"),
    "data": (GIB // 10, "--data"),
    "models": (GIB, "HF_HOME"),
    "cache": (GIB // 10, "BENCH_CACHE"),
}


def check(output: str, data: Path, models: Path, cache: Path) -> Iterator[Diagnosis]:
    """Check this machine, and the folders that a run uses; ``output`` may be a URL."""
    count, known, group = environment.cores(), _memory(), Path("/sys/fs/cgroup")
    yield cores(count, _quota(group))
    yield memory(count, known.get("MemTotal"), known.get("MemAvailable"), _limit(group))
    yield shared_memory(_free(Path("/dev/shm")))
    yield open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    if "://" in output and not output.startswith("file://"):
        answer = ask("place", output, seconds=_PLACE_SECONDS)
        yield room("output", without_password(output), None, answer.error or answer.first.get("error", ""))
    else:
        yield folder("output", places.place(output))
    yield folder("data", data)
    yield folder("models", models)
    yield _with_features(folder("cache", cache), cache)


def _with_features(found: Diagnosis, cache: Path) -> Diagnosis:
    """Return the diagnosis of the cache folder with the bytes that vision features take in it."""
    size = SharedFolder(cache / FEATURES, 0, ".safetensors").bytes
    return replace(found, text=f"{found.text}; vision features take {in_unit(size, 'GB')}") if size else found


def _memory() -> dict[str, int]:
    with suppress(OSError):
        lines = (line.split() for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
        return {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines if len(words) == 3}
    return {}


def _quota(group: Path) -> float | None:
    """Return how many cores the control group allows (version 2, then 1)."""
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        return int(quota) / int(period)
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (
            (group / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period")
        )
        return int(quota) / int(period) if int(quota) > 0 else None
    return None


def _limit(group: Path) -> int | None:
    """Return the bytes that the control group allows; version 1 states "no limit" as a huge number."""
    for file in (group / "memory.max", group / "memory" / "memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limit = int(file.read_text(encoding="utf-8"))
            return limit if limit < 1 << 60 else None
    return None


def _free(path: Path) -> int | None:
    with suppress(OSError):
        return shutil.disk_usage(path).free
    return None


def cores(count: int, quota: float | None) -> Diagnosis:
    """Judge the cores, of which the control group allows ``quota`` at a time; a lane without a GPU takes one."""
    if quota is None or quota >= count:
        return Diagnosis("ok", "cores", str(count))
    text = f"{count} visible, but the container may use {quota:g} at a time"
    return Diagnosis("warn", "cores", text, f"give --lanes {max(1, int(quota))} if you run on the CPU")


def memory(lanes: int, total: int | None, available: int | None, limit: int | None) -> Diagnosis:
    """Judge whether the memory suffices for this many lanes.

    All are bytes: the machine's memory, its free part, and what the control group allows; None means not known.
    """
    known = [size for size in (available, limit) if size is not None]
    if not known:
        return Diagnosis("ok", "memory", "not known on this system")
    usable = min(known)
    limited = "" if limit is None else f", the container's limit is {in_unit(limit, 'GiB')}"
    text = f"{in_unit(usable, 'GiB')} usable of {in_unit(total or usable, 'GiB')}{limited}"
    fitting, takes = usable // _LANE_BYTES, f"a lane takes about {in_unit(_LANE_BYTES, 'GiB')}"
    if not fitting:
        return Diagnosis("FAIL", "memory", text, f"free some, or use a larger machine: {takes}")
    if fitting < lanes:
        return Diagnosis("warn", "memory", text, f"give --lanes {fitting} if you run on the CPU: {takes}")
    return Diagnosis("ok", "memory", text)


def shared_memory(free: int | None) -> Diagnosis:
    """Judge the free bytes of /dev/shm, where Ray keeps its objects; None means not known."""
    if free is None:
        return Diagnosis("ok", "/dev/shm", "not known on this system")
    text = f"{in_unit(free, 'GiB')} free"
    if free < _SHARED_BYTES:
        fix = "start the container with --shm-size=2g: Ray is slow with less, and --lanes 0 does not need it"
        return Diagnosis("warn", "/dev/shm", text, fix)
    return Diagnosis("ok", "/dev/shm", text)


def open_files(limit: int) -> Diagnosis:
    """Judge how many files a process may open."""
    if limit == resource.RLIM_INFINITY:
        return Diagnosis("ok", "open files", "no limit")
    if limit < _OPEN_FILES:
        return Diagnosis("warn", "open files", f"at most {limit}", "run ulimit -n 65536 before bench")
    return Diagnosis("ok", "open files", f"at most {limit}")


def folder(role: str, path: Path) -> Diagnosis:
    """Check a folder, or the folder in which it would be created; nothing is left behind."""
    there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    trouble = ""
    try:
        if role != "data":  # the data folder is only read
            TemporaryFile(dir=there).close()
    except OSError as error:
        trouble = reason(error)
    return room(role, str(path), _free(there), trouble)


def room(role: str, path: str, free: int | None, trouble: str = "") -> Diagnosis:
    """Judge a folder by the free bytes of its disk, and by the reason why it cannot be written, or "".

    ``free`` is None if the folder is not on a disk.
    """
    least, option = _FOLDERS[role]
    if trouble:
        return Diagnosis("FAIL", role, f"{path}: {words(trouble)}", f"choose another folder with {option}")
    if free is None:
        return Diagnosis("ok", role, f"{path} can be written")
    text = f"{path}: {in_unit(free, 'GiB')} free"
    if free < least:
        fix = f"make room (bench clean shrinks a run folder), or choose another folder with {option}"
        return Diagnosis("warn", role, text, fix)
    return Diagnosis("ok", role, text)
