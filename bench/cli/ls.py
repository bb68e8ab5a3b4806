"""``bench ls``: list methods, tasks, suites, or the trials or runs of a run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench.cli.arguments import Command, arg
from bench.cli.options import Output, Plugins, TextOrJson
from bench.cli.plugin_facts import Facts, details, method_facts, overview, suite_facts, task_facts
from bench.cli.reports import older_trials
from bench.cli.which_run import every_run, largest, planned
from bench.console import say
from bench.errors import UsageError
from bench.plan.suite import SUITES
from bench.plugins.registry import Registry, suggest
from bench.store.json_note import json_text
from bench.store.run_folder import Census, Store
from bench.store.runs import Run
from bench.store.told_apart import by_label
from bench.text import text_table

_SHOWN = "*"
_HEADS = ("  run", "started", "cells", "trials", "reports", "command")


_COLUMNS = {
    "methods": ("name", "kind", "in", "about"),
    "tasks": ("name", "metric", "suites", "about"),
    "suites": ("name", "model", "sources", "targets"),
}


@dataclass(frozen=True, kw_only=True)
class LsOptions(TextOrJson, Plugins, Output, Command):
    """The options of ``bench ls``."""

    what: str = arg(
        "methods",
        "what to list (default: methods)",
        choices=("methods", "tasks", "suites", "trials", "runs"),
        positional=True,
        nargs="?",
    )
    name: str = arg(
        "",
        "show one method, task or suite with all its fields, defaults and ranges",
        "NAME",
        positional=True,
        nargs="?",
    )


def ls(options: LsOptions) -> int:
    """List methods, tasks, suites, or the trials or runs of a run folder."""
    if options.what in _COLUMNS:
        _print_plugins(options)
        return 0
    if options.name:
        raise UsageError(f"bench ls {options.what} lists all {options.what}. Drop {options.name}, or use bench show.")
    store = options.existing()
    if options.format == "json":
        print(json_text(_trials(store) if options.what == "trials" else _runs(store, options.output)))
        return 0
    for line in _trial_lines(store) if options.what == "trials" else _run_lines(store, options.output):
        print(line)
    return 0


def _print_plugins(options: LsOptions) -> None:
    registry = Registry(options.plugin)
    kinds: dict[str, tuple[Callable[[str], Facts], Sequence[str]]] = {
        "methods": (partial(method_facts, registry), registry.names("method")),
        "tasks": (partial(task_facts, registry), registry.names("task")),
        "suites": (suite_facts, sorted(SUITES)),
    }
    describe, names = kinds[options.what]
    if options.name:
        if options.name not in names:
            raise suggest(options.what.removesuffix("s"), options.name, names)
        facts = describe(options.name)
        print(json_text(facts) if options.format == "json" else "\n".join(details(facts)))
        return
    every = [describe(name) for name in names]
    print(json_text(every) if options.format == "json" else "\n".join(overview(every, _COLUMNS[options.what])))
    if options.format == "text":
        say(f"bench ls {options.what} NAME shows one with all its fields.")


def _trials(store: Store) -> list[dict[str, Any]]:
    """Return every trial with its state, cost and mean scores, for JSON; ``apart`` as in ``by_label``."""
    records = list(store.records())
    apart = by_label(record.trial for record in records)
    return [
        {
            "id": record.trial.id,
            "label": record.trial.label,
            "apart": apart[record.trial.id],
            "status": record.status,
            "older": record.trial.is_older,
            "cost": asdict(record.cost),
            "scores": {
                f"{score.asked.task}/{score.asked.split}": dict(score.metrics) for score in record.scores.values()
            },
            "error": record.error,
        }
        for record in records
    ]


def _runs(store: Store, output: Path) -> list[dict[str, Any]]:
    """Return every run with what is finished of it, for JSON."""
    census = store.census
    found = [planned(run, store, output) if run.is_old else run for run in every_run(store)]
    return [
        {
            "name": run.name,
            "kind": run.kind,
            "started": run.started,
            "finished": run.finished,
            "cells": len(run.cells),
            "finished_cells": run.finished_cells(census),
            "trials": len(run.trials),
            "finished_trials": run.finished_trials(census),
            "reports": run.reports,
            "command": run.command,
        }
        for run in found
    ]


def _trial_lines(store: Store) -> Iterator[str]:
    records = list(store.records())
    apart = by_label(record.trial for record in records)
    for record in records:
        seconds = record.cost.train_seconds + record.cost.evaluate_seconds
        version, text = f"version {record.trial.version}" if record.trial.is_older else "", apart[record.trial.id]
        more = text if version in text else f"{text}, {version}".removeprefix(", ")
        note = f"  ({more})" if more else ""
        yield f"{record.trial.id}  {record.status:6}  {seconds:7.1f} s  {record.trial.label}{note}"
    if older := sum(record.trial.is_older for record in records):
        say(older_trials(older))


def _run_lines(store: Store, output: Path) -> Iterator[str]:
    found = [planned(run, store, output) if run.is_old else run for run in every_run(store)]
    if not found:
        say(f"{output} has no run, search, study or sequence yet. Start one: bench run --output {output}")
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
