"""Ask a question in a process of its own: what is heavy is not loaded here, and what hangs is ended."""

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

_PATIENCE_SECONDS = 5.0  # for a process that was told to end


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question gave: a mapping per line that was said, and the reason where it did not come to its end."""

    said: tuple[Mapping[str, Any], ...]
    error: str = ""


def ask(question: str, *words: str, seconds: float) -> Answer:
    """Return what a function of ``bench.prepare.doctor.questions`` says, in at most so many seconds."""
    return run([sys.executable, "-m", "bench.prepare.doctor.questions", question, *words], seconds)


def run(command: list[str], seconds: float) -> Answer:
    """Return the lines of JSON that a command says, whatever else it prints; it and its children end in time."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # so that its children can be ended with it
    )
    try:
        out, noise = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        out = _ended(process)
        return Answer(tuple(_lines(out)), f"{LATE} in {seconds:g} s")
    if process.returncode:
        last = (noise.strip().splitlines() or [f"it ended with code {process.returncode}"])[-1]
        return Answer(tuple(_lines(out)), last)
    return Answer(tuple(_lines(out)))


def _ended(process: subprocess.Popen[str]) -> str:
    """End a process and its children, and return what it had said."""
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
