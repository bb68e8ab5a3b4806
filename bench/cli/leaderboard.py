"""``bench leaderboard``: print the leaderboard of a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from bench.cli.arguments import Command, arg
from bench.cli.options import Cells, Mix, Output, Selecting
from bench.cli.reports import board, print_board
from bench.cli.request import read_request
from bench.cli.which_run import OneRun, cells_of, every_run, same_cells, shown_run
from bench.errors import UsageError
from bench.plan.baselines import make
from bench.plugins.registry import Registry
from bench.store.run_folder import Store


@dataclass(frozen=True, kw_only=True)
class _Format:
    format: str = arg("table", "output format (default: table)", choices=partial(Registry().names, "report"))


@dataclass(frozen=True, kw_only=True)
class LeaderboardOptions(Mix, _Format, OneRun, Output, Cells, Command):
    """The options of ``bench leaderboard``."""


def leaderboard(options: LeaderboardOptions) -> int:
    """Print the leaderboard of a run folder to stdout, and nothing else."""
    store = options.store()
    cells, command = _meant(options, store)
    made = make(read_request(cells, options.output), store)
    print_board(board(made, store, command, mixed=options.mix), options.format)
    return 0


def _meant(options: LeaderboardOptions, store: Store) -> tuple[Cells, str]:
    """Return the cells to show and the command to name: those of a run, unless options select others."""
    selecting = options.chosen(Selecting)
    if not selecting:
        run = shown_run(store, options.output, options.run)
        return cells_of(run, options), run.command
    if options.run:
        option = selecting[0].replace("_", "-")
        raise UsageError(f"--run {options.run} says which cells are meant. Drop it or --{option}.")
    same = (run for run in every_run(store) if same_cells(run, options))
    return options, next((run.command for run in same if run.kind == "run"), options.line)
