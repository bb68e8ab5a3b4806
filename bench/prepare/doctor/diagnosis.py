"""The result of one check, and how the report writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "FAIL"]

_LONGEST = 300  # characters of an error's text


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One line of the report: the level, what was checked, what was found, and how to fix it."""

    level: Level
    subject: str
    text: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.level:<4}  {self.subject:<12} {self.text}{f'. Fix: {self.fix}' if self.fix else ''}"


def reason(error: Exception) -> str:
    """Return an error's text, without the numbers and class names that Python adds to it."""
    inner = getattr(error, "reason", error)  # a URLError wraps the reason
    return str(getattr(inner, "strerror", None) or inner or type(error).__name__)


def words(reason: str) -> str:
    """Return an error's text on one line, without its final full stop: a fix may follow."""
    text = " ".join(reason.split()).rstrip(".")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
