"""How far a transfer has come: a bar on a terminal, a plain line for each file elsewhere; always on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.console import progress_bar, say
from bench.sizes import readable_size


@contextmanager
def meter(what: str, total: int | None, done: int = 0, *, counted: bool = False) -> Iterator[Callable[[int], None]]:
    """Give the function that is told of further bytes (of further items, where ``counted``), and draw what it is told.

    ``total`` is None where nobody knows it; ``done`` is there from before.
    """
    from rich.progress import DownloadColumn, MofNCompleteColumn, TransferSpeedColumn

    columns = (MofNCompleteColumn(),) if counted else (DownloadColumn(), TransferSpeedColumn())
    with progress_bar(*columns) as progress:
        if progress.disable:
            amount = "" if total is None else f" ({total:,})" if counted else f" ({readable_size(total - done)})"
            say(f"{what}{amount} …")
        bar = progress.add_task(what, total=total, completed=done)
        yield lambda size: progress.advance(bar, size)
