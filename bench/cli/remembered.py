"""Remember the outline of the leaderboard of some cells, so that the next command needs no torch and draws no picture.

Only cells are remembered whose trials follow from installed code alone: methods and tasks of this package, drawn
pictures, and a base model that comes with the package. The key has a digest of all that code, so what is remembered is
what would be computed. Scores are never remembered: every command reads them from the run folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.options import Cells
from bench.cli.reports import outline_of
from bench.cli.request import read_request
from bench.errors import BenchError
from bench.plan.baselines import make
from bench.plan.plan import Plan
from bench.plan.request import Request
from bench.plan.suite import named_suite
from bench.plugins.installed_code import of_installed
from bench.plugins.source import is_built_in
from bench.plugins.task import Task
from bench.store import memos
from bench.store.run_folder import Store

if TYPE_CHECKING:
    from bench.leaderboard.outline import Outline


def outline_of_cells(cells: Cells | None, store: Store, output: Path, known: Callable[[], Cells]) -> Outline:
    """Return the outline of the leaderboard of some cells, remembered or planned.

    ``known`` returns the cells without settings that this version does not know, and says which it leaves out. If that
    may also be an option, ``cells`` is None, and nothing is remembered.
    """
    if cells is not None and (found := remembered(cells)) is not None:
        return found
    read = known()
    made = make(read_request(read, output), store)
    outline = outline_of(made)
    if read == cells:  # nothing was left out
        remember(cells, made, outline)
    return outline


def remembered(cells: Cells) -> Outline | None:
    """Return the outline of the leaderboard of some cells, or None if it is not remembered."""
    from bench.leaderboard.outline import Outline  # imported here because listings need no tables

    key = key_of(cells)
    return None if key is None else memos.read(key, Outline.from_json)


def remember(cells: Cells, made: Plan, outline: Outline) -> None:
    """Remember the outline of the leaderboard of some cells if it follows from installed code alone."""
    if (key := key_of(cells)) is not None and not made.request.unteachable and _follows_from_code(made.request):
        memos.keep(key, outline.to_json())


def key_of(cells: Cells) -> object | None:
    """Return what the leaderboard of cells depends on, or None if it also depends on files that may change.

    Controls depend on scores, tuned rows on a search, a model and plugins on files of their own.
    """
    if cells.plugin or cells.model is not None or cells.tuned is not None or cells.baselines:
        return None
    try:
        packaged = named_suite(cells.suite).packaged
    except BenchError:  # the command itself says what is wrong
        return None
    code = of_installed() if packaged else None
    return None if code is None else ["leaderboard", code, cells.selection()]


def _follows_from_code(request: Request) -> bool:
    """Whether methods and tasks are built in, and no task reads files of its own, of which it would have a manifest."""
    tasks = [request.tasks.load(name) for name in (*request.targets, *request.sources)]
    drawn = all(type(task).manifest is Task.manifest for task in tasks)
    plugins = [*map(type, tasks), *map(request.registry.method, request.methods)]
    return drawn and all(map(is_built_in, plugins))
