"""Ask a question in a separate process, which loads what is heavy and is ended if it hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

LATE = "no answer"

_PATIENCE_SECONDS = 5.0  # how long a process may take to end after its signal


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a question: one mapping per printed line, and the reason if the process failed, or ""."""

    said: tuple[Mapping[str, Any], ...]
    error: str = ""


def ask(question: str, *words: str, seconds: float) -> Reply:
    """Return what a function of ``bench.prepare.doctor.questions`` prints in at most ``seconds``."""
    return run([sys.executable, "-m", "bench.prepare.doctor.questions", question, *words], seconds)


def run(command: list[str], seconds: float) -> Reply:
    """Return the lines of JSON that a command prints; after ``seconds`` it and its children are ended."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # its children can then be ended with it
    )
    try:
        out, noise = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        out = _ended(process)
        return Reply(tuple(_lines(out)), f"{LATE} in {seconds:g} s")
    if process.returncode:
        last = (noise.strip().splitlines() or [f"it ended with code {process.returncode}"])[-1]
        return Reply(tuple(_lines(out)), last)
    return Reply(tuple(_lines(out)))


def _ended(process: subprocess.Popen[str]) -> str:
    """End a process and its children, and return what it printed until then."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_PATIENCE_SECONDS)[0]
    return ""


def _lines(out: str) -> Iterator[Mapping[str, Any]]:
    for line in out.splitlines():
        with suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict):
                yield said
