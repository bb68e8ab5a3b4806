"""How far a transfer has come: a bar on a terminal, a plain line for each file elsewhere; always on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.console import say

if TYPE_CHECKING:
    from rich.progress import Progress

_UNITS = ("B", "kB", "MB", "GB", "TB")


@contextmanager
def meter(what: str, total: int | None, done: int = 0, *, counted: bool = False) -> Iterator[Callable[[int], None]]:
    """Give the function that is told of further bytes (of further items, where ``counted``), and draw what it is told.

    ``total`` is None where nobody knows it; ``done`` is there from before.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        amount = "" if total is None else f" ({total:,})" if counted else f" ({as_bytes(total - done)})"
        say(f"{what}{amount} …")
        yield lambda size: None
        return
    with _bar(console, counted=counted) as progress:
        bar = progress.add_task(what, total=total, completed=done)
        yield lambda size: progress.advance(bar, size)


def as_bytes(size: float) -> str:
    """Return bytes as people read them: 6.6 GB."""
    for unit in _UNITS[:-1]:
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {_UNITS[-1]}"


def _bar(console: object, *, counted: bool) -> Progress:
    from rich import progress as rich

    amount = rich.MofNCompleteColumn() if counted else rich.DownloadColumn()
    columns = (rich.TextColumn("{task.description}"), rich.BarColumn(None), amount)
    speed = () if counted else (rich.TransferSpeedColumn(),)
    return rich.Progress(*columns, *speed, rich.TimeRemainingColumn(), console=console)  # type: ignore[arg-type]
