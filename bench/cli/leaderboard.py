"""``bench leaderboard``: print the leaderboard of a run, or the tables of a sequence, again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bench.cli.arguments import Command, arg
from bench.cli.chained import chains_of
from bench.cli.options import Cells, Mix, Output, Selecting, Sorted
from bench.cli.remembered import outline_of_cells
from bench.cli.reports import filled_board, print_board, print_sequences, sequences
from bench.cli.which_run import OneRun, cells_of, every_run, gone_options, noted_cells, same_cells, shown_run
from bench.errors import UsageError
from bench.plugins.registry import Registry
from bench.store.run_folder import Store

if TYPE_CHECKING:
    from bench.leaderboard.outline import Outline


@dataclass(frozen=True, kw_only=True)
class _Format:
    format: str = arg("table", "output format (default: table)", choices=lambda: (*Registry().names("report"), "json"))


@dataclass(frozen=True, kw_only=True)
class LeaderboardOptions(Sorted, Mix, _Format, OneRun, Output, Cells, Command):
    """The options of ``bench leaderboard``."""


def leaderboard(options: LeaderboardOptions) -> int:
    """Print the leaderboard of a run, or the tables of a sequence, to stdout, and nothing else."""
    store, selecting = options.store(), options.chosen(Selecting)
    if selecting and options.run:
        option = selecting[0].replace("_", "-")
        raise UsageError(f"--run {options.run} says which cells are meant. Drop it or --{option}.")
    if selecting:
        same = (run for run in every_run(store) if same_cells(run, options))
        line = next((run.command for run in same if run.kind == "run"), options.line)
        _print_cells(options, outline_of_cells(options, store, options.output, lambda: options), store, line)
        return 0
    run = shown_run(store, options.output, options.run, ["run", "sequence"])
    if run.kind == "sequence":
        print_sequences(
            sequences(chains_of(run, options.output, options), store, run.command, mixed=options.mix), options.format
        )
    else:
        noted = None if gone_options(run) else noted_cells(run, options)
        outline = outline_of_cells(noted, store, options.output, partial(cells_of, run, options))
        _print_cells(options, outline, store, run.command)
    return 0


def _print_cells(options: LeaderboardOptions, outline: Outline, store: Store, command: str) -> None:
    print_board(filled_board(outline, store, command, mixed=options.mix, sort=options.sort), options.format)
