"""What a check comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "FAIL"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: how it stands, what was looked at, what was found, and what to do."""

    level: Level
    subject: str
    text: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.level:<4}  {self.subject:<12} {self.text}{f'. Fix: {self.fix}' if self.fix else ''}"


def reason(error: Exception) -> str:
    """Return what went wrong, without the numbers and names that Python puts around it."""
    inner = getattr(error, "reason", error)  # of a URLError
    return str(getattr(inner, "strerror", None) or inner or type(error).__name__)


def words(reason: str, limit: int = 300) -> str:
    """Return an error's text on one line, without the stop that a fix follows."""
    text = " ".join(reason.split()).rstrip(".")
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
