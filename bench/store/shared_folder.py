"""A folder of files that can be made again, which several processes fill: the least recently used file goes first."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench.store.drafts import sweep

if TYPE_CHECKING:
    from filelock import FileLock

FEATURES = "features.1"  # the folder of vision features in the cache folder; the number is the layout's version

_LOCK = ".lock"
_OLD_SECONDS = 3600.0  # what a killed process left behind
_FREED, _UNSEEN = 0.1, 0.01  # shares of the limit: freed at once, and written before the folder is listed again


class Claim:
    """The right to make a file; the system takes it from a process that dies."""

    def __init__(self, lock: FileLock | None = None) -> None:
        self._lock = lock

    def release(self) -> None:
        """Let another process read the file, or make it."""
        if self._lock is not None:
            with suppress(OSError):
                Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None


class SharedFolder:
    """Files of about ``limit`` bytes; their names are keys and ``suffix``.

    A process does not see what others write until it lists the folder again, so each may exceed the limit by 1 %.
    A process that has mapped a file into memory keeps its pages if another process deletes the file.
    """

    def __init__(self, path: Path, limit: int, suffix: str) -> None:
        self.path = path
        self.limit = limit
        self._suffix = suffix
        self._room = 0  # how many bytes may be written before the folder is listed again

    def file(self, key: str) -> Path:
        """Return the path of a file that may exist."""
        return self.path / f"{key}{self._suffix}"

    def touch(self, key: str) -> None:
        """Note that a file was used now."""
        with suppress(OSError):  # deleted in the meantime, or not ours
            os.utime(self.file(key))

    def claim(self, key: str, seconds: float) -> Claim | None:
        """Return the right to make a file; None if another process still makes it after so many seconds.

        On a disk without locks, every process has the right.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / f"{key}{_LOCK}", timeout=seconds)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            return None
        except (OSError, NotImplementedError):
            return Claim()
        return Claim(lock)

    def make_room(self, size: int) -> None:
        """Delete the least recently used files if another file of this size would exceed the limit."""
        self._room -= size
        if self._room >= 0:
            return
        sweep(self.path, _OLD_SECONDS)
        self._drop_old_claims()
        found = sorted(self._listed())
        total = size + sum(each for _, each, _ in found)
        if total > self.limit:
            for _, each, path in found:
                if total <= (1 - _FREED) * self.limit:
                    break
                with suppress(OSError):  # Windows keeps a file that is mapped
                    path.unlink(missing_ok=True)
                    total -= each
        self._room = min(int(_UNSEEN * self.limit), self.limit - total)

    @property
    def bytes(self) -> int:
        """How many bytes the files have."""
        return sum(size for _, size, _ in self._listed())

    def _listed(self) -> Iterator[tuple[float, int, Path]]:
        """Yield time of use, bytes and path of every file."""
        for path in self._paths():
            if path.suffix == self._suffix:
                with suppress(OSError):  # another process deletes, too
                    facts = path.stat()
                    yield facts.st_mtime, facts.st_size, path

    def _drop_old_claims(self) -> None:
        """Delete what dead processes left of their claims."""
        for path in self._paths():
            if path.suffix == _LOCK:
                with suppress(OSError):  # another process deletes, too; or it is another user's
                    if time.time() - path.stat().st_mtime > _OLD_SECONDS:
                        path.unlink()

    def _paths(self) -> Sequence[Path]:
        """Return everything in the folder; nothing if it does not exist or may not be listed."""
        with suppress(OSError):
            return list(self.path.iterdir())
        return ()
