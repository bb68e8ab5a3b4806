"""Run a doctor's question in a subprocess, which does the heavy imports and is killed if it hangs."""

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

_PROGRAM_SECONDS = 20.0
_PATIENCE_SECONDS = 5.0  # how long a process may take to exit after its signal


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a question: one mapping per printed line, and the reason if the process failed, or ""."""

    said: tuple[Mapping[str, Any], ...]
    error: str = ""

    @property
    def first(self) -> Mapping[str, Any]:
        """The first printed line; empty if nothing was printed."""
        return next(iter(self.said), {})


def ask(question: str, *words: str, seconds: float) -> Reply:
    """Return what a function of ``bench.prepare.doctor.questions`` prints in at most ``seconds``."""
    return run([sys.executable, "-m", "bench.prepare.doctor.questions", question, *words], seconds)


def run(command: list[str], seconds: float) -> Reply:
    """Return the lines of JSON that a command prints; after ``seconds`` it and its children are killed."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # its children can then be killed with it
    )
    error = ""
    try:
        out, noise = process.communicate(timeout=seconds)
        if process.returncode:
            error = (noise.strip().splitlines() or [f"it ended with code {process.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        out, error = _ended(process), f"{LATE} in {seconds:g} s"
    return Reply(tuple(_lines(out)), error)


def completed(*command: str) -> subprocess.CompletedProcess[str] | None:
    """Run a program to its end, or return None if it is missing, fails or takes too long."""
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # a driver may speak the locale's encoding
            timeout=_PROGRAM_SECONDS,
            check=True,
        )
    return None


def _ended(process: subprocess.Popen[str]) -> str:
    """Kill a process and its children, and return what it printed until then."""
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
