import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.store.lock import disk_lock, locked

HOLD = "import sys; from pathlib import Path; from bench.store.lock import locked\n" + (
    "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
)


def test_a_folder_is_held_by_one_command_and_free_at_once_when_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="Another bench command is working in"), locked(tmp_path):
            pass
        other.kill()
        other.wait()
        with locked(tmp_path):
            pass


def test_a_folder_may_be_held_again_after_an_error(tmp_path: Path) -> None:
    def work() -> None:
        with locked(tmp_path):
            raise ValueError("an error")

    with pytest.raises(ValueError, match="an error"):
        work()

    with disk_lock(tmp_path, UsageError("taken")):
        pass


def test_a_lock_file_that_an_earlier_version_left_may_be_taken(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()

    with locked(tmp_path), pytest.raises(UsageError, match="taken"):
        disk_lock(tmp_path, UsageError("taken"))


def test_a_folder_that_cannot_be_locked_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()

    with pytest.raises(UsageError, match=r"cannot be locked: Is a directory\. Choose an --output"), locked(tmp_path):
        pass
