"""Real Ray: a driver that is killed, and lanes that lose a worker after the same command has gone on."""

import re
import shutil
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.plan.suite import Suite
from bench.plugins.registry import Registry
from bench.store.changes import CHECKPOINT
from bench.store.run_folder import Store
from bench.values.record import Record
from tests.making.plugins import KILLED_ONCE, WAITS, add_methods
from tests.making.records import weights
from tests.making.waiting import killed_when

pytestmark = pytest.mark.ray

FATAL = "os.kill(os.getpid(), signal.SIGKILL)"


def records(store: Store) -> dict[str, Record]:
    return {record.trial.method: record for record in store.records()}


def checkpoints(runs: Path) -> list[Path]:
    return list(runs.glob(f"waiting-*/{CHECKPOINT}"))


def assert_same(one: Store, other: Store) -> None:
    """Assert that what the other store has was learnt and answered to the same bytes in the one."""
    ours = records(one)
    for name, record in records(other).items():
        if record.trial.rank is not None:
            assert weights(one, ours[name]) == weights(other, record)
        assert ours[name].scores.keys() == record.scores.keys()
        for key, score in record.scores.items():
            assert ours[name].scores[key].metrics == score.metrics
            assert one.scores_of(record.trial).read(ours[name].scores[key]) == other.scores_of(record.trial).read(score)


def test_a_killed_driver_and_killed_workers_leave_what_the_same_command_resumes_to_the_same_bytes(
    tiny_command: list[str],
    tiny_suite: Suite,
    tiny_tasks: Path,
    runs: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(runs, unbroken := tmp_path / "unbroken")
    add_methods(Registry(), tmp_path / "killer.py", waiting=WAITS, killer=KILLED_ONCE, fatal=FATAL)
    words = ["run", "--suite", "tiny", "--plugin", str(tiny_tasks), "--plugin", str(tmp_path / "killer.py")]
    words += ["--ranks", "2", "--set", "recipe.updates=60", "--set", "recipe.dropout=0.1"]
    command = [*words, "--methods", "waiting,killer,fatal,dare", "--output", str(runs)]
    whole = [*words, "--methods", "waiting,killer,dare", "--lanes", "0", "--output"]

    killed_when(lambda: checkpoints(runs), [*tiny_command, *command, "--lanes", "1"])
    assert checkpoints(runs)
    assert not (tmp_path / "killed").exists()
    (tmp_path / "go").touch()
    again = main(command)  # on one lane per core
    said = capfd.readouterr()

    assert (tmp_path / "killed").exists()
    assert again == 1  # fatal failed, alone
    found = {name: record.status for name, record in records(Store(runs)).items()}
    names = ("zero_shot", "waiting", "killer", "lora", "dare")
    assert found == {**dict.fromkeys(names, "done"), "fatal": "failed"}
    assert "Its worker died 2 times." in said.err
    assert re.search(r"^ *dare ", said.out, re.MULTILINE)

    assert main([*whole, str(runs)]) == 0
    assert "5 of 5 trials, 3 of 3 trainings" in capfd.readouterr().err
    assert main([*whole, str(unbroken)]) == 0
    assert records(Store(unbroken)).keys() == set(names)
    assert_same(Store(runs), Store(unbroken))
