"""Real Ray: a cluster of two nodes, one of which goes away in the middle of a run."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.store.run_folder import RECORD, Store
from tests.making.waiting import PATIENCE_SECONDS, until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("runs")]

CLUSTER = """
import json, sys
import ray
from ray._private import state
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print(cluster.address, cluster.head_node.node_id, second.node_id, flush=True)
for line in sys.stdin:
    if line.strip() == "remove":
        cluster.remove_node(second, allow_graceful=False)
        print("removed", flush=True)
    if line.strip() == "state":
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        alive = {each["ActorClassName"] for each in state.actors().values() if each["State"] != "DEAD"}
        alive -= {"_AutoscalingCoordinatorActor"}  # Ray's own, one per cluster
        print(json.dumps({"cpus": ray.available_resources().get("CPU", 0), "actors": sorted(alive)}), flush=True)
        ray.shutdown()
cluster.shutdown()
"""

SLOW = '''
"""LoRA that leaves a mark of every start and of update 60, and waits there on a node that is held."""
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
import ray
from bench import Step, TrainMethod, insert_lora, lora_change

MARKS = Path({marks!r})

@dataclass(kw_only=True)
class Slow(TrainMethod):
    """LoRA that waits."""
    name: ClassVar[str] = "slow"
    paper: ClassVar[str] = "none"
    seen = False
    def adapt(self, model, rank, recipe):
        return insert_lora(model, rank, recipe)
    def change(self, model):
        return lora_change(model)
    def on_update(self, step: Step) -> None:
        if not self.seen or step.index == 60:
            word = "on" if self.seen else "start"
            self.seen = True
            node = ray.get_runtime_context().get_node_id()
            (MARKS / f"{{time.time()}} {{node}} {{step.index}} {{word}}").touch()
            while word == "on" and (MARKS.parent / f"held-{{node}}").exists():
                time.sleep(0.05)
'''


class TwoNodes:
    """A cluster of two nodes with a CPU each, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        token = folder / "token"
        token.write_text(secrets.token_hex(32), encoding="utf-8")
        token.chmod(0o600)
        quick = {"initial_delay_ms": "1000", "period_ms": "500", "timeout_ms": "10000", "failure_threshold": "3"}
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            **{f"RAY_health_check_{name}": value for name, value in quick.items()},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        with (folder / "cluster.log").open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", CLUSTER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                env=self.environment,
            )
        self.address, self.first, self.second = self._line().split()

    def ask(self, word: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self._line()

    def settled(self) -> object:
        """Return the free CPUs and the actors that are alive, when there are none or after a minute."""
        deadline = time.monotonic() + 60
        while (found := json.loads(self.ask("state")))["actors"] and time.monotonic() < deadline:
            time.sleep(0.5)
        return found

    def end(self) -> None:
        self._process.communicate(timeout=PATIENCE_SECONDS)

    def _line(self) -> str:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if re.fullmatch(r"removed|\{.*\}|[\d.]+:\d+ \w+ \w+", line.strip()):  # not what Ray says beside
                return line.strip()
        raise AssertionError("the cluster's process ended")


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    found = TwoNodes(tmp_path_factory.mktemp("cluster"))
    yield found
    found.end()


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    (tmp_path / "marks").mkdir()
    path = tmp_path / "slow.py"
    path.write_text(SLOW.format(marks=str(tmp_path / "marks")), encoding="utf-8")
    return path


def hold(folder: Path, node: str) -> Path:
    """Let every training on a node wait at update 60 for as long as the file that is returned exists."""
    (file := folder / f"held-{node}").touch()
    return file


class Runs:
    """Commands on the two nodes, and what they left behind."""

    def __init__(self, nodes: TwoNodes, command: list[str], plugins: tuple[Path, ...], folder: Path) -> None:
        self._environment = nodes.environment
        self.output = folder / "runs"
        self._marks = folder / "marks"
        self._words = [*command, "run", "--suite", "tiny", "--methods", "slow", "--ranks", "2"]
        self._words += [word for path in plugins for word in ("--plugin", str(path))]
        self._words += ["--set", "recipe.updates=70", "--address", nodes.address, "--output", str(self.output)]

    def start(self, seeds: str) -> subprocess.Popen[str]:
        words = [*self._words, "--seeds", seeds]
        return subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=self._environment
        )

    def starts(self) -> list[int]:
        """Return the first update of every training that was begun or taken up, in time."""
        return [int(index) for _, _, index, word in self._read() if word == "start"]

    def is_in_the_middle(self, node: str) -> bool:
        """Whether a node that is held is in the middle of a training, with a checkpoint behind it."""
        return any(found == node and word == "on" for _, found, _, word in self._read())

    def _read(self) -> list[list[str]]:
        return sorted(path.name.split() for path in self._marks.iterdir())

    def done(self) -> dict[str, tuple[int, bytes]]:
        """Return the records that are whole, by trial: when they were written, and what they say."""
        store = Store(self.output)
        whole = [record.trial for record in store.records() if record.cost.peak_memory_bytes]  # what is noted last
        paths = {trial.id: store.folder(trial) / RECORD for trial in whole}
        return {key: (path.stat().st_mtime_ns, path.read_bytes()) for key, path in paths.items()}


def test_a_run_outlives_a_node_and_leaves_its_cluster_as_it_was(
    two_nodes: TwoNodes, tiny_command: list[str], tiny_tasks: Path, slow: Path, tmp_path: Path
) -> None:
    runs = Runs(two_nodes, tiny_command, (tiny_tasks, slow), tmp_path)
    held = [hold(tmp_path, node) for node in (two_nodes.first, two_nodes.second)]

    driver = runs.start("0,1,2")
    until(lambda: runs.is_in_the_middle(two_nodes.first) and runs.is_in_the_middle(two_nodes.second))
    held[0].unlink()
    until(runs.done)
    two_nodes.ask("remove")
    before = runs.done()
    _, said = driver.communicate(timeout=PATIENCE_SECONDS)

    assert driver.returncode == 0, said
    assert len(runs.done()) == 4
    assert {trial: found for trial, found in runs.done().items() if trial in before} == before
    assert "is gone; another lane takes slow-r2-new_squares-s" in said
    assert sorted(runs.starts()) == [0, 0, 0, 50]  # three trainings, one of them in two parts
    assert two_nodes.settled() == {"cpus": 1.0, "actors": []}


def test_an_interrupted_command_leaves_nothing_on_its_cluster(
    two_nodes: TwoNodes, tiny_command: list[str], tiny_tasks: Path, slow: Path, tmp_path: Path
) -> None:
    runs = Runs(two_nodes, tiny_command, (tiny_tasks, slow), tmp_path)
    idle = two_nodes.settled()
    for node in (two_nodes.first, two_nodes.second):
        hold(tmp_path, node)

    driver = runs.start("0,1,2")
    until(runs.starts)
    books = list((runs.output / ".lanes").iterdir())
    driver.send_signal(signal.SIGINT)
    _, said = driver.communicate(timeout=PATIENCE_SECONDS)

    assert driver.returncode == 130, said
    assert len(books) == 1
    assert two_nodes.settled() == idle
    assert not (runs.output / ".lanes").exists()
