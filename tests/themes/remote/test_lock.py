import json
import logging
import os
import socket
import time
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.store.drafts import put
from bench.store.lock import Lease, Pace, locked
from bench.store.places import place
from tests.making.waiting import until

QUICK = Pace(beat=0.02, stale=600.0, settle=0.0)
STILL = Pace(beat=6000.0, stale=600.0, settle=0.0)


@pytest.fixture
def root(bucket: object) -> Path:
    return place("bucket://lab/runs")


def held(root: Path, *, host: str, pid: int, age: float) -> None:
    owner = {"key": "other", "host": host, "pid": pid, "at": time.time() - age}
    put(root / ".lock", json.dumps(owner).encode())


def test_a_second_command_is_refused_with_who_is_at_work_and_may_begin_after_the_first(root: Path) -> None:
    named = rf"process {os.getpid()} on {socket.gethostname()}, alive \d+ s ago"
    with locked(root, STILL), pytest.raises(UsageError, match=named):
        Lease(root, STILL).take()
    with locked(root, STILL):
        pass
    assert not (root / ".lock").is_file()


def test_an_owner_that_is_silent_or_whose_process_is_gone_is_taken_over(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held(root, host="elsewhere", pid=1, age=300.0)
    with pytest.raises(UsageError, match=r"process 1 on elsewhere, alive 3\d\d s ago"), locked(root, STILL):
        pass
    for host, pid, age in (("elsewhere", 1, 601.0), (socket.gethostname(), 2**22 + 1, 0.0)):
        held(root, host=host, pid=pid, age=age)
        with caplog.at_level(logging.WARNING), locked(root, STILL):
            assert json.loads((root / ".lock").read_text(encoding="utf-8"))["pid"] == os.getpid()
        assert f"held by process {pid} on {host}" in caplog.text


def test_an_owner_keeps_its_lease_fresh(root: Path) -> None:
    with locked(root, QUICK):
        first = json.loads((root / ".lock").read_text(encoding="utf-8"))["at"]
        until(lambda: json.loads((root / ".lock").read_text(encoding="utf-8"))["at"] > first)


def test_of_two_that_begin_at_once_the_later_one_has_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    early = Lease(root, STILL)
    monkeypatch.setattr("bench.store.lock.time.sleep", lambda seconds: held(root, host="elsewhere", pid=7, age=0.0))

    with pytest.raises(UsageError, match="process 7 on elsewhere"):
        early.take()


def test_a_command_whose_lease_was_taken_over_is_interrupted_and_leaves_the_lock(
    bucket: object, caplog: pytest.LogCaptureFixture
) -> None:
    root = place("bucket://ann:secret@lab/runs")

    def work() -> None:
        with locked(root, QUICK):
            until(lambda: held(root, host="elsewhere", pid=7, age=0.0))  # again: the owner may write at the same time

    with pytest.raises(KeyboardInterrupt):
        work()
    assert json.loads((root / ".lock").read_text(encoding="utf-8"))["key"] == "other"
    assert "The lock of bucket://lab/runs was taken over by process 7 on elsewhere" in caplog.text


def test_a_damaged_lock_is_nobodys(root: Path) -> None:
    put(root / ".lock", b"{")
    with locked(root, STILL):
        assert json.loads((root / ".lock").read_text(encoding="utf-8"))["pid"] == os.getpid()
