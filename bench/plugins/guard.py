"""Keep the code of plugins from ending the process: what would end it becomes a PluginError."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bench.errors import Gone, PluginError
from bench.plugins.faults import place

_exit_at_once = os._exit


class _Guarded(threading.local):
    """The process whose plugin code this thread runs; 0 if it runs none."""

    process = 0


_guarded = _Guarded()
_pressed = threading.Event()  # set by Ctrl-C


@contextmanager
def guarded(plugin: object = None) -> Iterator[None]:
    """Turn SystemExit, os._exit and KeyboardInterrupt in the code of plugins into a PluginError that names the line.

    Ctrl-C and a termination pass, and so does Gone. ``plugin`` is the class or function to blame; without it, every
    plugin may be, and what no line of a plugin led to passes.

    Raises:
        PluginError: the code would end the process.
    """
    process = os.getpid()
    outer, _guarded.process = _guarded.process, process
    os._exit = _exit
    try:
        yield
    except Gone:
        raise
    except (SystemExit, KeyboardInterrupt) as error:
        if os.getpid() != process or (isinstance(error, KeyboardInterrupt) and _is_users()):
            raise  # a child of the plugin's own, or Ctrl-C
        what = f"calls os._exit({error.code})" if isinstance(error, _ExitAtOnce) else f"raises {type(error).__name__}"
        where = place(error, plugin) or (_last(error) if plugin is not None else "")
        if not where:
            raise  # no plugin led to it
        raise PluginError(f"{where}: it {what}, which would end the command. Raise an error instead.") from error
    finally:
        _guarded.process = outer


@contextmanager
def interrupts() -> Iterator[None]:
    """Note Ctrl-C until the context ends, so that it is told apart from a KeyboardInterrupt that code raises.

    A termination (SIGTERM, from kill or a batch system) raises a KeyboardInterrupt too, so that the command ends as
    after Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # a shell starts a command in the background with SIGINT ignored, and a termination must end it well all the same
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = [number for number, handler in before.items() if handler in (signal.default_int_handler, signal.SIG_DFL)]
    for number in ours:
        signal.signal(number, _press)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
        _pressed.clear()


class _ExitAtOnce(SystemExit):
    """Raised in place of ``os._exit``."""


def _exit(status: int) -> NoReturn:
    """End the process at once, as ``os._exit`` does, unless this thread runs the code of a plugin."""
    if _guarded.process == os.getpid():
        raise _ExitAtOnce(status)
    _exit_at_once(status)


def _press(number: int, frame: FrameType | None) -> None:
    _pressed.set()
    raise KeyboardInterrupt


def _is_users() -> bool:
    """Whether Ctrl-C caused a KeyboardInterrupt; without ``interrupts``, that is assumed in the main thread."""
    unknown = threading.current_thread() is threading.main_thread() and _is_python_handler()
    return _pressed.is_set() or unknown


def _is_python_handler() -> bool:
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _last(error: BaseException) -> str:
    """Return the last line before an error, in whatever file it is."""
    frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
    return f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}"
