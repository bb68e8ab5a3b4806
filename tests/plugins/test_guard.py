"""Code that would end the process becomes an error that names its line; Ctrl-C and a lost worker still end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from bench.errors import Gone, PluginError
from bench.plugins.guard import guarded, interrupts


def exits() -> None:
    sys.exit(0)


def quits() -> None:
    raise SystemExit


def exits_at_once() -> None:
    os._exit(0)


def interrupted_by_itself() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("code", [exits, quits, exits_at_once, interrupted_by_itself])
def test_what_would_end_the_process_is_an_error_with_file_line_and_function(code: Callable[[], None]) -> None:
    line = code.__code__.co_firstlineno + 1

    with (
        interrupts(),
        pytest.raises(PluginError, match=rf"^test_guard\.py:{line} in {code.__name__}: it .*which would end"),
        guarded(code),
    ):
        code()


def test_what_no_plugin_leads_to_passes() -> None:
    with pytest.raises(SystemExit), guarded():
        exits()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_a_termination_pass(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), interrupts(), guarded(exits):
        os.kill(os.getpid(), number)


def test_without_a_handler_of_ours_an_interrupt_in_the_main_thread_passes() -> None:
    with pytest.raises(KeyboardInterrupt), guarded():
        raise KeyboardInterrupt


def test_in_a_lanes_thread_an_interrupt_is_the_codes_own() -> None:
    found: list[str] = []

    def lane() -> None:
        try:
            with guarded(interrupted_by_itself):
                interrupted_by_itself()
        except PluginError as error:
            found.append(str(error))

    thread = threading.Thread(target=lane)
    thread.start()
    thread.join()
    assert "KeyboardInterrupt" in found[0]


def test_a_lost_worker_still_ends_the_process() -> None:
    with pytest.raises(Gone), guarded():
        raise Gone("A worker is gone.")


def test_the_handler_is_pythons_own_again_afterwards() -> None:
    with interrupts():
        pass

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


IN_BACKGROUND = """
import os, signal
from bench.plugins.guard import interrupts
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts a command with &
try:
    with interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    print("ended", signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
"""


def test_a_termination_ends_a_command_in_the_background_as_ctrl_c_would() -> None:
    done = subprocess.run([sys.executable, "-c", IN_BACKGROUND], capture_output=True, encoding="utf-8", check=True)

    assert done.stdout.split() == ["ended", "True"]


CHILDREN = """
import os
from bench.plugins.guard import guarded
def exit_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
with guarded():
    if not (child := os.fork()):
        os._exit(5)
    print(exit_of(child))
if not (child := os.fork()):
    os._exit(6)
print(exit_of(child))
"""


def test_a_child_of_the_code_may_exit_and_so_may_the_process_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", CHILDREN], capture_output=True, encoding="utf-8", check=True)

    assert done.stdout.split() == ["5", "6"]
