"""``bench leaderboard``: print the leaderboard of a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from bench.cli.arguments import Command, arg
from bench.cli.options import Cells, Mix, Output
from bench.cli.reports import board, print_board
from bench.cli.request import read_request
from bench.plan.baselines import make
from bench.plugins.registry import Registry
from bench.store import last_run
from bench.store.run_folder import Store


@dataclass(frozen=True, kw_only=True)
class _Format:
    format: str = arg("table", "output format (default: table)", choices=partial(Registry().names, "report"))


@dataclass(frozen=True, kw_only=True)
class LeaderboardOptions(Mix, _Format, Output, Cells, Command):
    """The options of ``bench leaderboard``."""


def leaderboard(options: LeaderboardOptions) -> int:
    """Print the leaderboard of a run folder to stdout, and nothing else."""
    store = options.store()
    cells, command = _meant(options, store)
    made = make(read_request(cells, options.output), store)
    print_board(board(made, store, command, mixed=options.mix), options.format)
    return 0


def _meant(options: LeaderboardOptions, store: Store) -> tuple[Cells, str]:
    """Return the cells to show and the command to name: the last run's, unless options choose others."""
    if not options.chosen(Cells):
        last = last_run.needed(store, options.output)
        return Cells.selected(last.selection), last.command
    before = last_run.read(store)
    if before is not None and Cells.selected(before.selection).selection() == options.selection():
        return options, before.command
    return options, options.line
