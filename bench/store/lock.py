"""One command at a time in a run folder: a lock of the disk, or at a URL an object that its owner keeps fresh."""

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
from bench.store.places import is_remote, remove, replace_file

log = logging.getLogger(__name__)

_FILE = ".lock"


@dataclass(frozen=True, slots=True)
class Pace:
    """How a lease is kept, in seconds: written anew every ``beat``, given up by others when silent for ``stale``.

    Clocks of the machines may differ by less than their difference. ``settle`` is how long a new owner waits to see
    whether another took the lock at the same time.
    """

    beat: float = 20.0
    stale: float = 120.0
    settle: float = 1.0


@dataclass(frozen=True, slots=True)
class Owner:
    """A command that holds a run folder, and when it last said so, in seconds since 1970."""

    key: str
    host: str
    pid: int
    at: float

    def gone(self, stale: float) -> bool:
        """Whether it has died: its process is not there, on this machine, or it has been silent for too long."""
        if self.host == socket.gethostname() and not Path(f"/proc/{self.pid}").exists() and Path("/proc/self").exists():
            return True
        return time.time() - self.at > stale

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, alive {max(0.0, time.time() - self.at):.0f} s ago"


@contextmanager
def locked(root: Path, pace: Pace = Pace()) -> Iterator[None]:
    """Hold a run folder that is there.

    Raises:
        UsageError: another command holds it, or its disk has no locks.
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
    """Lock a folder of this machine until the context ends; the system frees a killed command's lock at once.

    Raises:
        UsageError: ``taken``, because another command holds it.
        OSError: the folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    try:
        return FileLock(folder / _FILE, timeout=0).acquire()
    except Timeout as error:
        raise taken from error


class Lease:
    """A lock where nothing can be locked: an object that names its owner, who writes it anew while it works."""

    def __init__(self, root: Path, pace: Pace) -> None:
        self._root = root
        self._path = root / _FILE
        self._pace = pace
        self._key = uuid4().hex
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def take(self) -> None:
        """Take the lease, from a dead owner if need be, and keep it fresh from now on.

        Raises:
            UsageError: its owner is alive.
        """
        found = self.owner()
        if found is not None and not found.gone(self._pace.stale):
            raise _taken(self._root, f" ({found})")
        if found is not None:
            log.warning("%s was held by %s; it is taken over.", without_password(str(self._root)), found)
        self._write()
        time.sleep(self._pace.settle)
        if (now := self.owner()) is None or now.key != self._key:  # two began at once, and the later one has it
            raise _taken(self._root, f" ({now})" if now else "")
        self._thread.start()

    def give_back(self) -> None:
        """Delete the lease, unless another has taken it over."""
        self._over.set()
        self._thread.join()
        if (found := self.owner()) is not None and found.key == self._key:
            remove(self._path)

    def owner(self) -> Owner | None:
        """Return who holds the run folder; a lock that says nothing readable is nobody's."""
        try:
            return Owner(**json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            log.warning("%s is damaged; it is taken over.", without_password(str(self._path)))
            return None

    def _write(self) -> None:
        mine = Owner(self._key, socket.gethostname(), os.getpid(), time.time())
        replace_file(self._path, json.dumps(asdict(mine)) + "\n")

    def _keep(self) -> None:
        """Write the lease anew until it is given back; end this command where another has taken it over."""
        while not self._over.wait(self._pace.beat):
            try:
                found = self.owner()
                if found is not None and found.key != self._key:
                    log.warning("%s was taken over by %s; this command stops.", self._root, found)
                    _thread.interrupt_main()
                    return
                self._write()
            except Exception as error:  # noqa: BLE001  a network may fail for a while; the run goes on
                log.warning("%s could not be kept fresh: %s", without_password(str(self._path)), error)


def _taken(root: Path, by: str) -> UsageError:
    return UsageError(
        f"Another bench command{by} is working in {without_password(str(root))}. Wait for it, or choose another "
        "--output."
    )
