"""``bench ls``: list methods, tasks, suites, or the trials or runs of a run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench.cli.arguments import Command, arg
from bench.cli.options import Output
from bench.cli.reports import older_trials
from bench.cli.which_run import every_run, largest, planned
from bench.console import say
from bench.plan.suite import SUITES
from bench.plugins.registry import Registry
from bench.store.run_folder import Census, Store
from bench.store.runs import Run
from bench.text import text_table

_SHOWN = "*"
_HEADS = ("  run", "started", "cells", "trials", "reports", "command")


@dataclass(frozen=True, kw_only=True)
class LsOptions(Output, Command):
    """The options of ``bench ls``."""

    what: str = arg(
        "methods",
        "what to list (default: methods)",
        choices=("methods", "tasks", "suites", "trials", "runs"),
        positional=True,
        nargs="?",
    )


def ls(options: LsOptions) -> int:
    """List methods, tasks, suites, or the trials or runs of a run folder."""
    lists: dict[str, Callable[[], Iterable[str]]] = {
        "methods": lambda: Registry().names("method"),
        "tasks": lambda: Registry().names("task"),
        "suites": lambda: sorted(SUITES),
        "trials": lambda: _trial_lines(options.existing()),
        "runs": lambda: _run_lines(options.existing(), options.output),
    }
    for line in lists[options.what]():
        print(line)
    return 0


def _trial_lines(store: Store) -> Iterator[str]:
    older = 0
    for record in store.records():
        seconds = record.cost.train_seconds + record.cost.evaluate_seconds
        version = f"  (version {record.trial.version})" if record.trial.is_older else ""
        yield f"{record.trial.id}  {record.status:6}  {seconds:7.1f} s  {record.trial.label}{version}"
        older += record.trial.is_older
    if older:
        say(older_trials(older))


def _run_lines(store: Store, output: Path) -> Iterator[str]:
    found = [planned(run, store, output) if run.is_old else run for run in every_run(store)]
    if not found:
        say(f"{output} has no run, search or study yet. Start one: bench run --output {output}")
        return
    census = store.census
    tables = [run for run in found if run.kind == "run"]
    shown = largest(tables, census) if tables else None
    yield from text_table([_HEADS, *(_run_cells(run, census, run is shown) for run in found)], left={0, 1, 4, 5})
    if shown is not None:
        say(f"{_SHOWN} bench leaderboard shows this run, which has the most finished cells; --run NAME shows another.")
    if census.older:
        say(older_trials(census.older))


def _run_cells(run: Run, census: Census, is_shown: bool) -> Sequence[str]:
    cells = f"{run.finished_cells(census)} of {len(run.cells)}" if run.cells else "-"
    trials = f"{run.finished_trials(census)} of {len(run.trials)}" if run.trials else "-"
    started = f"{datetime.fromisoformat(run.started).astimezone():%Y-%m-%d %H:%M}"
    name = f"{_SHOWN if is_shown else ' '} {run.name}"
    return (name, started, cells, trials, run.reports or ".", run.command)
