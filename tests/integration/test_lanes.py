"""Real Ray: lanes that lose a worker, and a driver that is killed."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bench.lanes import lanes
from bench.lanes.setup import LaneSetup, Launch
from bench.plan.plan import Plan, make
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.registry import Registry
from bench.plugins.tasks import Tasks
from bench.spec import Record
from bench.store.changes import CHECKPOINT
from bench.store.run_folder import Store
from tests.making.plugins import KILLED_ONCE, WAITS, add_methods
from tests.making.records import weights
from tests.making.waiting import kill, until

pytestmark = pytest.mark.ray


@pytest.fixture
def killer(tmp_path: Path, squares: Tasks) -> Tasks:
    """The tasks of the suite tiny, with a registry that has two methods which kill their worker too."""
    fatal = "os.kill(os.getpid(), signal.SIGKILL)"
    add_methods(squares.registry, tmp_path / "killer.py", killer=KILLED_ONCE, fatal=fatal)
    return squares


def planned(suite: Suite, tasks: Tasks, store: Store, *methods: str) -> Plan:
    recipe = replace(suite.recipe, updates=60, dropout=0.1)
    return make(Request(suite, methods, (2,), suite.targets, suite.sources, recipe, tasks=tasks), store)


def done_by(plan: Plan, output: Path, count: int) -> dict[str, Record]:
    setup = LaneSetup(output, plan.request.suite.folder, plan.request.tasks, Launch(count))
    events = lanes.run(plan.pending, plan.records, setup)
    return {event.record.trial.label: event.record for event in events if event.record}


def test_a_killed_worker_resumes_its_trial_to_the_same_bytes_and_a_fatal_one_fails_alone(
    tiny_suite: Suite, killer: Tasks, tmp_path: Path
) -> None:
    store = Store(tmp_path / "runs")
    store.prepare()

    records = done_by(planned(tiny_suite, killer, store, "killer", "fatal", "lora", "dare"), store.root, 2)

    assert (tmp_path / "killed").exists()
    status = {label.split("-")[0]: record.status for label, record in records.items()}
    assert status == {
        "zero_shot": "done",
        "killer": "done",
        "fatal": "failed",
        "lora": "done",
        "dare": "done",
    }
    label = "killer-r2-new_squares-s0"
    unbroken = Store(tmp_path / "unbroken")
    unbroken.prepare()
    alone = done_by(planned(tiny_suite, killer, unbroken, "killer"), unbroken.root, 0)
    assert weights(store, records[label]) == weights(unbroken, alone[label])
    assert {key: score.metrics for key, score in records[label].scores.items()} == {
        key: score.metrics for key, score in alone[label].scores.items()
    }


def test_a_killed_driver_leaves_what_the_same_command_goes_on_from(
    tiny_command: list[str], tiny_tasks: Path, tmp_path: Path
) -> None:
    output, waiting = tmp_path / "runs", tmp_path / "waiting.py"
    add_methods(Registry(), waiting, waiting=WAITS)
    words = ["run", "--suite", "tiny", "--plugin", str(tiny_tasks), "--plugin", str(waiting)]
    words += ["--methods", "lora,waiting", "--ranks", "2"]
    words += ["--set", "recipe.updates=60", "--lanes", "1", "--output", str(output)]
    command = [*tiny_command, *words]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    until(lambda: list(output.glob(f"waiting-*/{CHECKPOINT}")) or driver.poll() is not None)
    kill(driver)
    checkpoints = list(output.glob(f"waiting-*/{CHECKPOINT}"))
    (tmp_path / "go").touch()

    again = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=600, check=False)

    assert checkpoints
    assert again.returncode == 0, again.stderr
    assert "lora" in again.stdout
    third = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=600, check=False)
    assert third.returncode == 0, third.stderr
    assert "3 of 3 trials, 2 of 2 trainings" in third.stderr
    unbroken = tmp_path / "unbroken"
    alone = [*command[:-3], "0", "--output", str(unbroken)]
    subprocess.run(alone, capture_output=True, timeout=600, check=True)
    one, other = Store(output), Store(unbroken)
    for record in one.records():
        if record.trial.rank is not None:
            assert weights(one, record) == weights(other, record)
        for score in record.scores.values():
            assert one.scores_of(record.trial).read(score) == other.scores_of(record.trial).read(score)
