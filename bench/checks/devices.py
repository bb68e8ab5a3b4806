"""The check that a method runs on an accelerator; it asks a process of its own, in which the pretend device exists."""

from __future__ import annotations

import atexit
import inspect
import json
import os
import subprocess
import sys
from contextlib import suppress
from functools import cache
from typing import IO, TypedDict

from bench.errors import PluginError
from bench.plugins.method import Method
from bench.plugins.registry import Registry

_CHILD = "bench.checks.device_process"


class Question(TypedDict):
    """A method class as another process finds it, and the plugin files that it may need."""

    module: str
    file: str
    name: str
    plugins: list[str]


def check_runs_on_an_accelerator(plugin: type[Method], registry: Registry | None = None) -> None:
    """No hook mixes the model's device with the CPU, at the defaults and with every choice of every hyperparameter."""
    if fault := _answer(_question(plugin, registry)):
        raise PluginError(fault)


def _question(plugin: type[Method], registry: Registry | None) -> Question:
    files = [str(path) for path in registry.files] if registry else []
    return Question(module=plugin.__module__, file=inspect.getfile(plugin), name=plugin.__qualname__, plugins=files)


def _answer(question: Question) -> str:
    """Return the fault that the other process finds, or an empty text.

    Raises:
        PluginError: the method ends the process.
    """
    process = _process()
    try:
        print(json.dumps(question), file=_pipe(process.stdin), flush=True)
        line = _pipe(process.stdout).readline()
    except BrokenPipeError:
        line = ""
    if line:
        return str(json.loads(line))
    _process.cache_clear()
    code = process.wait()
    raise PluginError(
        f"On an accelerator, {question['name']} ends the process with code {code}. Raise an error instead."
    )


@cache
def _process() -> subprocess.Popen[str]:
    """Start the process that answers; it ends as soon as its input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-m", _CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},  # it imports the plugin under the same name
        encoding="utf-8",
    )
    atexit.register(_end, process)
    return process


def _end(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        with suppress(BrokenPipeError):  # the process may have died
            _pipe(pipe).close()
    process.wait()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
