"""What a command says: results to stdout, all else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable


def say(text: str) -> None:
    """Write a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def tell(lines: Iterable[str]) -> None:
    """Write lines to stdout."""
    for line in lines:
        print(line)


def agreed(question: str) -> bool:
    """Ask, and return whether the answer is yes; where nobody can answer, it is no."""
    try:
        return input(question).strip().lower() in {"y", "yes"}
    except EOFError:
        return False
