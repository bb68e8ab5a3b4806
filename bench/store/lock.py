"""Allow one command at a time in a run folder: a file lock, or a lease with a heartbeat for URLs."""

from __future__ import annotations

import _thread
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from bench.errors import UsageError, without_password
from bench.store.json_note import write_note
from bench.store.places import is_remote, remove

log = logging.getLogger(__name__)

_FILE = ".lock"


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of a lease in seconds: it is rewritten every ``beat`` and expires after ``stale``.

    The clocks of two machines may differ by less than ``stale`` - ``beat``. ``settle`` is how long a new owner waits
    to see whether another command took the lease at the same time.
    """

    beat: float = 20.0
    stale: float = 120.0
    settle: float = 1.0


@dataclass(frozen=True, slots=True)
class Owner:
    """A command that holds a run folder, and the time of its last heartbeat in seconds since 1970."""

    key: str
    host: str
    pid: int
    at: float

    def gone(self, stale: float) -> bool:
        """Whether the owner has died: its process on this machine has ended, or its heartbeat is too old."""
        if self.host == socket.gethostname() and not Path(f"/proc/{self.pid}").exists() and Path("/proc/self").exists():
            return True
        return time.time() - self.at > stale

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, alive {max(0.0, time.time() - self.at):.0f} s ago"


@contextmanager
def locked(root: Path, pace: Pace = Pace()) -> Iterator[None]:
    """Hold a run folder, which must exist, until the context ends.

    Raises:
        UsageError: another command holds the run folder, or its disk does not support locks.
    """
    if is_remote(root):
        lease = Lease(root, pace)
        lease.take()
        try:
            yield
        finally:
            lease.give_back()
        return
    try:
        lock = disk_lock(root, _taken(root, ""))
    except OSError as error:
        raise UsageError(f"{root} cannot be locked: {error.strerror}. Choose an --output on another disk.") from error
    with lock:
        yield


def disk_lock(folder: Path, taken: UsageError) -> AbstractContextManager[object]:
    """Lock a local folder until the context ends; the system frees the lock of a killed command.

    Raises:
        UsageError: ``taken``, because another command holds the folder.
        OSError: the folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    try:
        return FileLock(folder / _FILE, timeout=0).acquire()
    except Timeout as error:
        raise taken from error


class Lease:
    """A lock at a URL: an object that names its owner, and that the owner rewrites while it works."""

    def __init__(self, root: Path, pace: Pace) -> None:
        self._root = root
        self._path = root / _FILE
        self._pace = pace
        self._key = uuid4().hex
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def take(self) -> None:
        """Take the lease, even from a dead owner, and start its heartbeat.

        Raises:
            UsageError: the owner of the lease is alive.
        """
        found = self.owner()
        if found is not None and not found.gone(self._pace.stale):
            raise _taken(self._root, f" ({found})")
        if found is not None:
            log.warning("%s was held by %s. This command takes it over.", without_password(str(self._root)), found)
        self._write()
        time.sleep(self._pace.settle)
        if (now := self.owner()) is None or now.key != self._key:  # two began at once; the later one has it
            raise _taken(self._root, f" ({now})" if now else "")
        self._thread.start()

    def give_back(self) -> None:
        """Stop the heartbeat and delete the lease, unless another command has taken it over."""
        self._over.set()
        self._thread.join()
        if (found := self.owner()) is not None and found.key == self._key:
            remove(self._path)

    def owner(self) -> Owner | None:
        """Return the owner of the run folder, or None if the lease is missing or damaged."""
        try:
            return Owner(**json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            log.warning("%s is damaged. This command takes the lock over.", without_password(str(self._path)))
            return None

    def _write(self) -> None:
        mine = Owner(self._key, socket.gethostname(), os.getpid(), time.time())
        write_note(self._path, asdict(mine), indent=None)

    def _keep(self) -> None:
        """Rewrite the lease until it is given back; interrupt this command if another has taken it over."""
        while not self._over.wait(self._pace.beat):
            try:
                found = self.owner()
                if found is not None and found.key != self._key:
                    root = without_password(str(self._root))
                    log.warning("The lock of %s was taken over by %s. This command stops.", root, found)
                    _thread.interrupt_main()
                    return
                self._write()
            except Exception as error:  # noqa: BLE001  a network may fail for a while; the run continues
                log.warning("%s could not be rewritten: %s", without_password(str(self._path)), error)


def _taken(root: Path, by: str) -> UsageError:
    return UsageError(
        f"Another bench command{by} is working in {without_password(str(root))}. Wait for it, or choose another "
        "--output."
    )
