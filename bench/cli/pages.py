"""Write the report page of a run, and the page that leads to the latest one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.options import Cells
from bench.cli.show import command_line, reading
from bench.plugins.registry import Registry
from bench.spec import Record
from bench.store.places import make, replace_file
from bench.store.run_folder import Store
from bench.store.runs import FOLDER, Run

if TYPE_CHECKING:
    from bench.page.page import Page

LATEST = "report"  # the folder at the top of a run folder whose page leads to the latest page


def repeater(cells: Cells, output: Path, registry: Registry) -> Callable[[Record], str]:
    """Return a function that gives the command that repeats a trial of some cells."""
    words = reading(cells, registry)
    return lambda record: command_line(record, output, registry, words)


def put_page(page: Callable[[], Page], store: Store, run: Run) -> Path:
    """Write the page of a run next to its reports, lead to it from ``report/``, and return its path."""
    from bench.page.page import INDEX, forward, write_page  # imported here because a dry run needs no templates

    folder = store.root / FOLDER / run.name
    path = write_page(page(), folder)
    make(store.root / LATEST)
    replace_file(store.root / LATEST / INDEX, forward(f"../{FOLDER}/{run.name}/{INDEX}"))
    return path
