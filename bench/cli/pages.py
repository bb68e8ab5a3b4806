"""Write the report page of a run, and the page that leads to the latest one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.console import say, warn
from bench.errors import BenchError, WriteError, first_line
from bench.store.drafts import replace_file
from bench.store.places import make
from bench.store.run_folder import Store
from bench.store.runs import FOLDER, Run

if TYPE_CHECKING:
    from bench.page.page import Page

LATEST = "report"  # the folder at the top of a run folder whose page leads to the latest page


def put_page(page: Callable[[], Page], store: Store, run: Run) -> Path:
    """Write the page of a run next to its reports, lead to it from ``report/``, and return its path."""
    from bench.page.page import INDEX, forward, write_page  # imported here because a dry run needs no templates

    folder = store.root / FOLDER / run.name
    path = write_page(page(), folder)
    make(store.root / LATEST)
    replace_file(store.root / LATEST / INDEX, forward(f"../{FOLDER}/{run.name}/{INDEX}"))
    return path


def written_if_possible(steps: Mapping[str, Callable[[], Path]]) -> list[Path]:
    """Write files that a finished command adds to its results; say why those are missing that cannot be written.

    ``steps`` has a name for messages and what writes the file. Only a disk that refuses files fails the command.
    """
    written = []
    for what, write in steps.items():
        try:
            written.append(write())
        except WriteError:
            raise
        except Exception as error:  # noqa: BLE001  plugins and their data may raise anything
            reason = first_line(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
            warn(
                f"{what} was not written: {reason} Mend that, then run the same command again; it trains nothing again."
            )
    return written


def tell_files(paths: Sequence[Path], root: Path, reports: Path, output: Path) -> None:
    """Say which files of the folder ``reports`` a command has written in the run folder, and which to open."""
    if paths:
        names = (str(path.relative_to(root / reports)) for path in paths)
        say(f"wrote {output / reports}: {', '.join(names)}")
        if paths[-1].suffix == ".html":
            say(f"Open {output / paths[-1].relative_to(root)} in a browser.")
