"""What a command prints: results to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

_messages = {"quiet": False}


def be_quiet(quiet: bool) -> None:
    """Print results, warnings and errors only, or everything again."""
    _messages["quiet"] = quiet


def say(text: str) -> None:
    """Write a line to stderr, unless the command is quiet."""
    if not _messages["quiet"]:
        print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Write a line to stderr that a quiet command writes too, because a reader of the results must know it."""
    print(text, file=sys.stderr, flush=True)


def tell(lines: Iterable[str]) -> None:
    """Write lines to stdout."""
    for line in lines:
        print(line)


def agreed(question: str) -> bool:
    """Ask, and return whether the answer is yes; if nobody can answer, return False."""
    try:
        return input(question).strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def progress_bar(*columns: str | ProgressColumn, lasting: bool = True, seconds: float = 30.0) -> Progress:
    """Return progress bars on stderr, drawn only on a terminal: task, progress, ``columns``, time left.

    In a quiet command neither the bars nor what is printed on their console is seen.
    The time left is estimated from the last ``seconds``. Bars that are not ``lasting`` disappear at their end.
    """
    from rich import progress as rich
    from rich.console import Console

    console = Console(stderr=True, highlight=False, quiet=_messages["quiet"])
    return rich.Progress(
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(None),
        *columns,
        rich.TimeRemainingColumn(),
        console=console,
        transient=not lasting,
        speed_estimate_period=seconds,
        disable=not console.is_terminal or console.quiet,
    )
