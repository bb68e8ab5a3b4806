"""What a study is: the cells it needs, and the table or figure it makes of them. Loads nothing heavy."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.plan.plan import Cell, Plan, cell_trial
from bench.plan.request import Request
from bench.plugins.paper import PublishedRow
from bench.spec import Scalar, Trial
from bench.store.run_folder import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from bench.leaderboard.tables import Leaderboard


_WIDTH = 120  # of what is printed


@dataclass(frozen=True, slots=True)
class StudyResult:
    """What a study's trials came to. ``published`` are the paper's rows, none where they are not comparable."""

    plan: Plan
    store: Store
    board: Leaderboard
    published: tuple[PublishedRow, ...] = ()

    @property
    def request(self) -> Request:
        """What was asked for."""
        return self.plan.request


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure, every number in it as a frame, the lines that sum it up, and what has to stand under it."""

    figure: Figure
    frame: DataFrame
    lines: tuple[str, ...]
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """An experiment of the paper.

    ``title`` says what it shows. ``methods`` have to be there; ``ranks`` and ``targets`` are what it takes unless the
    command says otherwise; one with ``one_rank`` takes a single rank. ``draw`` makes the figure of what its ``cells``
    came to, None where they came to nothing. Without it the result is the leaderboard, ``caption`` says what has to
    stand under it, and ``tables`` names those of the paper that show the same.
    """

    name: str
    title: str
    methods: tuple[str, ...]
    ranks: str
    targets: Literal["all", "first"] = "all"
    one_rank: bool = False
    cells: Callable[[Request], tuple[Cell, ...]]
    caption: str = ""
    tables: tuple[str, ...] = ()
    draw: Callable[[StudyResult], Drawing | None] | None = None

    @property
    def line(self) -> str:
        """The study in a listing."""
        rank = f"rank{'s' * (',' in self.ranks)} {self.ranks}"
        return f"{self.name:7} {self.title} ({rank}; {self.targets} target{'s' * (self.targets == 'all')})"


@dataclass(frozen=True, slots=True)
class GridPoint:
    """A rank, a target and a seed of a request: where a study puts the same rows."""

    request: Request
    rank: int
    target: str
    seed: int

    def trial(self, method: str, **settings: Scalar) -> Trial:
        """Return a method's trial here; its settings are the defaults but for those given."""
        request = replace(self.request, settings={method: settings}) if settings else self.request
        return cell_trial(request, method, self.rank, self.target, self.seed)


def places(request: Request) -> Iterator[GridPoint]:
    """Yield the places of a request, ranks innermost."""
    for seed, target, rank in product(request.seeds, request.targets, request.ranks):
        yield GridPoint(request, rank, target, seed)


def folder_of(store: Store, name: str) -> Path:
    """Return where a study's files lie."""
    return store.root / "studies" / name


def wrapped(text: str) -> list[str]:
    """Return a caption as lines for a terminal."""
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
