"""What a command says: results to stdout, all else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn


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


def progress_bar(*columns: str | ProgressColumn, lasting: bool = True, seconds: float = 30.0) -> Progress:
    """Return bars on stderr that are drawn on a terminal alone: the task, how far it is, ``columns``, the time left.

    The time left follows from the pace of the last ``seconds``. Bars that are not ``lasting`` vanish at their end.
    """
    from rich import progress as rich
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    return rich.Progress(
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(None),
        *columns,
        rich.TimeRemainingColumn(),
        console=console,
        transient=not lasting,
        speed_estimate_period=seconds,
        disable=not console.is_terminal,
    )
