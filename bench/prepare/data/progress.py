"""Show the progress of a transfer on stderr: a bar on a terminal, otherwise one line per file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.console import progress_bar, say
from bench.sizes import readable_size


@contextmanager
def meter(what: str, total: int | None, done: int = 0, *, counted: bool = False) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes the number of new bytes, or of new items if ``counted``, and draws it.

    ``total`` is None if it is not known; ``done`` bytes or items were there before.
    """
    from rich.progress import DownloadColumn, MofNCompleteColumn, TransferSpeedColumn

    columns = (MofNCompleteColumn(),) if counted else (DownloadColumn(), TransferSpeedColumn())
    with progress_bar(*columns) as progress:
        if progress.disable:
            amount = "" if total is None else f" ({total:,})" if counted else f" ({readable_size(total - done)})"
            say(f"{what}{amount} …")
        bar = progress.add_task(what, total=total, completed=done)
        yield lambda size: progress.advance(bar, size)
