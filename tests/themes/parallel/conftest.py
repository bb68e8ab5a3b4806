"""Two processes that do jobs together, as the workers of one lane do."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.making.waiting import PATIENCE_SECONDS

_WORKER = Path(__file__).with_name("worker.py")


class Pair:
    """Two workers, joined by gloo, that do jobs named in worker.py."""

    def __init__(self, folder: Path) -> None:
        self.channels: list[Connection] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        for rank in range(2):
            ours, theirs = Pipe()
            words = [sys.executable, str(_WORKER), str(rank), str(folder / "joined"), str(theirs.fileno())]
            self.processes.append(subprocess.Popen(words, pass_fds=[theirs.fileno()]))
            theirs.close()
            self.channels.append(ours)

    def __call__(self, job: str, *arguments: Any) -> list[Any]:
        """Have both do a job, and return what each gives."""
        self.begin(job, *arguments)
        return [self.result(rank) for rank in range(2)]

    def begin(self, job: str, *arguments: Any) -> None:
        for channel in self.channels:
            channel.send_bytes(pickle.dumps((job, arguments)))

    def result(self, rank: int) -> Any:
        assert self.channels[rank].poll(PATIENCE_SECONDS), f"worker {rank} hangs"
        return pickle.loads(self.channels[rank].recv_bytes())

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def new_pair(tmp_path: Path) -> Iterator[Callable[[], Pair]]:
    """A pair of one's own, to be broken."""
    pairs: list[Pair] = []

    def start() -> Pair:
        pairs.append(Pair(tmp_path))
        return pairs[-1]

    yield start
    for pair in pairs:
        pair.close()


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A pair that all tests share: whatever failed in it before must not matter."""
    pair = Pair(tmp_path_factory.mktemp("pair"))
    yield pair
    pair.close()
