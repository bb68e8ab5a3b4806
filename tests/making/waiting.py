"""Wait for what other processes and threads do, however loaded the machine is; only a broken test waits to the end."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psutil

PATIENCE_SECONDS = 600.0

Found = TypeVar("Found")


def until(what: Callable[[], Found], seconds: float = PATIENCE_SECONDS) -> Found:
    """Return the first true value that ``what`` returns.

    Raises:
        AssertionError: there was none in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"nothing came of it in {seconds:g} s"
        time.sleep(0.05)
    return found


def has_ended(process: psutil.Process | int) -> bool:
    """Whether a process has ended, be it that its parent has not asked how."""
    try:
        found = psutil.Process(process) if isinstance(process, int) else process
        return not found.is_running() or found.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def killed_when(what: Callable[[], object], command: Sequence[str]) -> None:
    """Start a command, and kill it when ``what`` is true, unless it ends before."""
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: what() or driver.poll() is not None)
    finally:
        kill(driver)


def kill(driver: subprocess.Popen[Any]) -> None:
    """Kill a command as the operating system would, and wait until Ray's processes have ended after it."""
    processes = psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []
    driver.kill()
    driver.wait()
    until(lambda: all(map(has_ended, processes)))
