"""``bench report``: write the report page of a run again, and say where it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.cli.arguments import Command
from bench.cli.chained import chains_of
from bench.cli.options import Mix, Output, Sorted
from bench.cli.pages import put_page, repeater
from bench.cli.reports import board, sequences
from bench.cli.request import read_request
from bench.cli.which_run import OneRun, cells_of, shown_run
from bench.plan.baselines import make
from bench.store.run_folder import Store
from bench.store.runs import Run


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Sorted, Mix, OneRun, Output, Command):
    """The options of ``bench report``."""


def report(options: ReportOptions) -> int:
    """Write the page of a run or a sequence from what the run folder has, and print its path."""
    store = options.existing()
    run = shown_run(store, options.output, options.run, ["run", "sequence"])
    with store.locked():
        path = _sequence(options, store, run) if run.kind == "sequence" else _leaderboard(options, store, run)
    print(options.output / path.relative_to(store.root))
    return 0


def _leaderboard(options: ReportOptions, store: Store, run: Run) -> Path:
    from bench.page.build import run_page  # imported here because the help needs no figures

    cells = cells_of(run)
    made = make(read_request(cells, options.output), store)
    ranked = board(made, store, run.command, mixed=options.mix, sort=options.sort)
    figures = sorted((store.root / run.reports).glob("curves/*.svg"))
    repeat = repeater(cells, options.output, made.request.registry)
    return put_page(lambda: run_page(ranked, made, store, figures, repeat), store, run)


def _sequence(options: ReportOptions, store: Store, run: Run) -> Path:
    from bench.page.sequence import sequence_page  # imported here because the help needs no figures

    chains = chains_of(run, options.output)
    shown = sequences(chains, store, run.command, mixed=options.mix)
    figures = sorted((store.root / run.reports).glob("sequence-*.svg"))
    repeat = repeater(cells_of(run), options.output, chains.request.registry)
    return put_page(lambda: sequence_page(shown, chains, chains.plan(store), store, figures, repeat), store, run)
