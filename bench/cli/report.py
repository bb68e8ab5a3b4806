"""``bench report``: write the report page of a run, sequence, search or study again, and say where it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.cli.arguments import Command, arg
from bench.cli.chained import chains_of
from bench.cli.options import Mix, Output, Sorted
from bench.cli.pages import put_page
from bench.cli.repeat import Repeats
from bench.cli.reports import board, sequences
from bench.cli.request import read_request
from bench.cli.search_page import draw_fronts, put_search_page, results_of
from bench.cli.which_run import OneRun, cells_of, every_run, shown_run
from bench.console import say
from bench.errors import UsageError
from bench.plan.baselines import make
from bench.store.run_folder import Store
from bench.store.runs import Kind, Run, latest_run, save_note


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Sorted, Mix, OneRun, Output, Command):
    """The options of ``bench report``."""

    run: str = arg(
        "",
        "a run, sequence, search or study of the run folder: its name, the start of its name, or latest (default: the "
        "latest command if it is a search or a study, else the run with the most finished cells; bench ls runs lists "
        "them)",
        "NAME",
    )


def report(options: ReportOptions) -> int:
    """Write the page of a run, sequence, search or study from what the run folder has, and print its path."""
    store = options.existing()
    run = _meant(options, store)
    with store.locked(runs=False):
        if run.made_from:
            save_note(store, replace(run, made_from=""))  # the next bench run writes its own page again
        path = _WRITERS[run.kind](options, store, run)
    print(options.output / path.relative_to(store.root))
    return 0


def _meant(options: ReportOptions, store: Store) -> Run:
    """Return the run that --run names; without it the latest command if it is a finished search or study."""
    if options.run:
        return shown_run(store, options.output, options.run, list(_WRITERS))
    pointed = latest_run(store)
    latest = next((run for run in every_run(store) if run.name == pointed), None)
    if latest is not None and latest.finished and latest.kind in ("search", "study"):
        say(f"This is the {latest.kind} {latest.name}, the latest command. --run NAME chooses another.")
        return latest
    return shown_run(store, options.output, kinds=["run", "sequence", "study", "search"])


def _leaderboard(options: ReportOptions, store: Store, run: Run) -> Path:
    from bench.page.build import run_page  # imported here because the help needs no figures

    cells = cells_of(run)
    made = make(read_request(cells, options.output), store)
    ranked = board(made, store, run.command, mixed=options.mix, sort=options.sort)
    figures = sorted((store.root / run.reports).glob("curves/*.svg"))
    repeat = Repeats.of(cells, options.output, made.request.registry, store, run.command)
    return put_page(lambda: run_page(ranked, made, store, figures, repeat), store, run)


def _sequence(options: ReportOptions, store: Store, run: Run) -> Path:
    from bench.page.sequence import sequence_page  # imported here because the help needs no figures

    chains = chains_of(run, options.output)
    shown = sequences(chains, store, run.command, mixed=options.mix)
    figures = sorted((store.root / run.reports).glob("sequence-*.svg"))
    repeat = Repeats.of(cells_of(run), options.output, chains.request.registry, store, run.command)
    return put_page(lambda: sequence_page(shown, chains, chains.plan(store), store, figures, repeat), store, run)


def _search(options: ReportOptions, store: Store, run: Run) -> Path:
    if given := [name for name in ("sort", "mix") if name in options.typed]:
        raise UsageError(f"--{given[0]} is an option of a leaderboard, and {run.name} is a search. Drop it.")
    cells = cells_of(run)
    results = results_of(run, cells, store, options.output)
    return put_search_page(run, cells, results, draw_fronts(run, results, store), store, options.output)


def _study(options: ReportOptions, store: Store, run: Run) -> Path:
    from bench.cli.study import named_study, study_plan  # imported here because the help needs no studies
    from bench.page.build import run_page
    from bench.papers.study import read_name

    chosen, cells = named_study(read_name(store.root / run.reports)), cells_of(run)
    made = study_plan(chosen, read_request(cells, options.output), store)
    ranked = board(made, store, run.command, mixed=options.mix, sort=options.sort)
    figures = sorted((store.root / run.reports).glob("*.svg"))
    repeat = Repeats.of(cells, options.output, made.request.registry, store, run.command)
    return put_page(lambda: run_page(ranked, made, store, figures, repeat, chosen.title), store, run)


_WRITERS: Mapping[Kind, Callable[[ReportOptions, Store, Run], Path]] = {
    "run": _leaderboard,
    "sequence": _sequence,
    "study": _study,
    "search": _search,
}
