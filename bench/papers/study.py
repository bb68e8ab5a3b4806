"""Define a study: the cells it needs, and the table or figure it makes. Loads nothing heavy."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.environment import commit
from bench.errors import StoreError
from bench.plan.cell_trials import cell_trial
from bench.plan.plan import Cell, Plan
from bench.plan.request import Request
from bench.plugins.paper import PublishedRow
from bench.store.json_note import read_note, write_note
from bench.store.run_folder import Store
from bench.values.recipe import Connector
from bench.values.trial import Scalar, Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from bench.leaderboard.tables import Leaderboard


_WIDTH = 120  # of printed captions and lines
_RECORD = "study.json"
_DAMAGED = "{path} is damaged ({error}). Delete it and run bench study again."
_OLD = "studies"  # version 0.1.0 kept the files of a study here, by its name


@dataclass(frozen=True, slots=True)
class StudyResult:
    """A study's results. ``published`` has the paper's rows; it is empty if they are not comparable."""

    plan: Plan
    store: Store
    board: Leaderboard
    published: tuple[PublishedRow, ...] = ()

    @property
    def request(self) -> Request:
        """The request of the study."""
        return self.plan.request


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure, its numbers as a data frame, a summary in lines, and the caption."""

    figure: Figure
    frame: DataFrame
    lines: tuple[str, ...]
    caption: str


@dataclass(frozen=True, slots=True)
class GridPoint:
    """A rank, a target and a seed of a request; a study has the same rows for each of these."""

    request: Request
    rank: int
    target: str
    seed: int

    def trial(self, method: str, **settings: Scalar) -> Trial:
        """Return a method's trial at this point, with the defaults except for the given settings."""
        request = replace(self.request, settings={method: settings}) if settings else self.request
        return cell_trial(request, method, self.rank, self.target, self.seed)

    def cell(self, method: str, variant: str = "", **settings: Scalar) -> Cell:
        """Return the cell of such a trial, in the method's own row or in that of a variant."""
        return Cell.of(self.request.registry, self.trial(method, **settings), variant)

    def with_connector(self, connector: Connector) -> GridPoint:
        """Return the same point of a request with another connector policy."""
        recipe = replace(self.request.recipe, connector=connector)
        return replace(self, request=replace(self.request, recipe=recipe))


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """An experiment of the paper.

    ``title`` says what the study shows. It needs all ``methods``. ``ranks`` and ``targets`` are its defaults, which
    the command can change. A study with ``one_rank`` takes a single rank. ``cells_at`` returns its cells at a grid
    point. ``draw`` makes the figure from the results of the cells, or None if they have no results. Without ``draw``
    the result is the leaderboard, ``caption`` is printed under it, and ``tables`` names the paper's tables that show
    the same rows.
    """

    name: str
    title: str
    methods: tuple[str, ...]
    ranks: str
    targets: Literal["all", "first"] = "all"
    one_rank: bool = False
    cells_at: Callable[[GridPoint], Iterable[Cell]]
    caption: str = ""
    tables: tuple[str, ...] = ()
    draw: Callable[[StudyResult], Drawing | None] | None = None

    @property
    def line(self) -> str:
        """The line of the study in a listing."""
        rank = f"rank{'s' * (',' in self.ranks)} {self.ranks}"
        return f"{self.name:14} {self.title} ({rank}; {self.targets} target{'s' * (self.targets == 'all')})"

    def cells(self, request: Request) -> tuple[Cell, ...]:
        """Return the cells at every grid point of a request; the rank changes fastest."""
        grid = product(request.seeds, request.targets, request.ranks)
        return tuple(
            cell for seed, target, rank in grid for cell in self.cells_at(GridPoint(request, rank, target, seed))
        )


def save_record(folder: Path, name: str, command: str, plan: Plan) -> None:
    """Write a study's command line, commit and cells into the folder of its reports."""
    cells = [
        {
            "method": cell.key.method,
            "variant": cell.key.variant,
            "rank": cell.trial.rank,
            "target": cell.trial.target,
            "seed": cell.trial.seed,
            "connector": cell.trial.recipe.connector,
            "trial": cell.trial.id,
        }
        for cell in plan.cells
    ]
    data = {"study": name, "command": command, "commit": commit(), "suite": plan.request.suite.name, "cells": cells}
    write_note(folder / _RECORD, data)


def read_name(folder: Path) -> str:
    """Return the name of the study whose record is in the folder of its reports.

    Raises:
        StoreError: the record is damaged or missing.
    """
    name = read_note(folder / _RECORD, lambda data: str(data["study"]), _DAMAGED)
    if name is None:
        raise StoreError(f"{folder / _RECORD} is missing. Run bench study again.")
    return name


def studied(store: Store) -> set[str]:
    """Return the ids of all trials that the studies of version 0.1.0 in a run folder need.

    Raises:
        StoreError: a study.json is damaged.
    """
    found: set[str] = set()
    for path in sorted(store.root.glob(f"{_OLD}/*/{_RECORD}")):
        found |= read_note(path, lambda data: set(data["trials"]), _DAMAGED) or set()
    return found


def wrapped(text: str) -> list[str]:
    """Return a caption as lines for a terminal."""
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
