"""Retry a transfer after the pause that the server asks for, otherwise after ever longer pauses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import TypeVar

_LONGEST_SECONDS = 300.0  # a server may ask for hours; the command must not wait so long

T = TypeVar("T")


@dataclass(slots=True)
class Interrupted(Exception):  # noqa: N818  not an error yet, because the transfer is retried
    """A transfer failed for a reason that may pass; the server asks for ``pause`` seconds before a retry."""

    reason: str
    pause: float = 0.0


def retried(transfer: Callable[[], T], tries: int, pause: float) -> T:
    """Return the result of ``transfer``; before each retry, wait as the server asks or ``pause`` seconds.

    ``pause`` is doubled after every try.

    Raises:
        Interrupted: the last try was interrupted too.
    """
    for _ in range(tries - 1):
        try:
            return transfer()
        except Interrupted as interrupted:
            time.sleep(interrupted.pause or pause)
        pause *= 2
    return transfer()


def asked_pause(headers: Message) -> float:
    """Return the seconds of Retry-After (a number or a date), at most 300; 0 if there is no such header."""
    asked = headers.get("Retry-After", "").strip()
    try:
        seconds = (
            float(asked) if asked.isdecimal() else (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds()
        )
    except (TypeError, ValueError):  # neither a number nor a date with a time zone
        return 0.0
    return min(max(seconds, 0.0), _LONGEST_SECONDS)


def why(error: BaseException) -> str:
    """Return the reason of a network error."""
    return str(getattr(error, "reason", error)) or type(error).__name__
