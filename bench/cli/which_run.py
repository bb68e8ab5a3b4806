"""Find the run of a run folder that a command means, and its cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from bench.cli.arguments import Command, arg
from bench.cli.options import Cells, Selecting
from bench.cli.request import read_request, split_known
from bench.console import say, warn
from bench.errors import BenchError, UsageError
from bench.plan.baselines import make
from bench.plan.plan import Plan
from bench.plan.request import Request
from bench.plugins.registry import suggest
from bench.store.run_folder import Census, Store
from bench.store.runs import (
    FOLDER,
    Kind,
    Run,
    latest_run,
    move_old_run,
    now,
    read_old_run,
    read_runs,
    run_name,
    save_run,
)
from bench.values.trial import Trial

_LATEST = "latest"


@dataclass(frozen=True, kw_only=True)
class OneRun:
    """The option that names a run."""

    run: str = arg(
        "",
        "a run or sequence of the run folder: its name, the start of its name, or latest (default: the run with the "
        "most finished cells; bench ls runs lists them)",
        "NAME",
    )


def every_run(store: Store) -> list[Run]:
    """Return the runs, searches and studies of a run folder, the earliest first.

    Raises:
        StoreError: a note is damaged.
    """
    found, old = read_runs(store), read_old_run(store)
    return found if old is None else [replace(old, name=run_name("run", _stored(old).meaning())), *found]


def largest(runs: Sequence[Run], census: Census) -> Run:
    """Return the run with the most finished cells, and among equals the one with the most finished scores.

    Among these, a run without --limit comes first, then the one that lacks the fewest cells, then the latest.
    """

    def size(run: Run) -> tuple[int, int, bool, int, str]:
        whole = run.selection.get("limit") in (None, "")
        return run.finished_cells(census), run.finished_scores(census), whole, -len(run.cells), run.started

    return max(runs, key=size)


def tell_larger(run: Run, store: Store, census: Census) -> None:
    """Say so if bench leaderboard shows another run than this one."""
    shown = largest([other for other in read_runs(store) if other.kind == "run"], census) if run.kind == "run" else run
    if shown.name != run.name:
        say(
            f"bench leaderboard shows the run {shown.name}, which has {shown.finished_cells(census)} of "
            f"{len(shown.cells)} cells finished; this run has {run.finished_cells(census)} of {len(run.cells)}. "
            "bench leaderboard --run latest shows this run."
        )


def shown_run(store: Store, output: Path, name: str = "", kinds: Sequence[Kind] = ("run",), for_what: str = "") -> Run:
    """Return the run that ``--run`` names, of one of ``kinds``. Without a name, return the largest of the first kind.

    If several could be meant, a line says which it is. ``for_what`` is what needs these kinds, for messages.

    Raises:
        UsageError: there was none of these kinds, or none has this name.
    """
    every = every_run(store)
    found = [run for run in every if run.kind in kinds]
    if name and every:
        return _named(name, every, kinds, store, for_what)
    if not found:
        kind, tasks = kinds[0], " --tasks A,B" if kinds[0] == "sequence" else ""
        if every:
            others = ", ".join(dict.fromkeys(f"the {run.kind} {run.name}" for run in every))
            raise UsageError(
                f"{output} has no {kind} yet, only {others}. Start one: bench {kind}{tasks} --output {output}"
            )
        raise UsageError(f"{output} has no {kind} yet. Start one: bench {kind}{tasks} --output {output}")
    first = next(of for kind in kinds if (of := [run for run in found if run.kind == kind]))
    if len(first) == 1:
        return first[0]
    chosen = largest(first, store.census)
    say(
        f"This is the {chosen.kind} {chosen.name}, the largest of {len(first)} {chosen.kind}s. "
        "bench ls runs lists them; --run NAME chooses another."
    )
    return chosen


def _named(name: str, every: Sequence[Run], kinds: Sequence[Kind], store: Store, for_what: str) -> Run:
    found, kind = [run for run in every if run.kind in kinds], " or ".join(kinds)
    if name == _LATEST and found:
        pointed = latest_run(store)
        return next((run for run in found if run.name == pointed), found[-1])
    matching = _matching(name, found)
    if len(matching) > 1:
        names = ", ".join(run.name for run in matching)
        raise UsageError(f"--run {name} matches {len(matching)} runs: {names}. Give the whole name.")
    if matching:
        return matching[0]
    if others := _matching(name, every):
        needs = for_what or "this command"
        raise UsageError(
            f"{others[0].name} is a {others[0].kind}, and {needs} needs a {kind}. bench ls runs lists them."
        )
    raise suggest(kind, name, [_LATEST, *(run.name for run in found)])


def _matching(name: str, runs: Sequence[Run]) -> list[Run]:
    """Return the run of a name, or else those whose name begins so."""
    exact = [run for run in runs if run.name == name]
    return exact or [run for run in runs if run.name.startswith(name)]


def run_of(store: Store, trial: Trial) -> Run | None:
    """Return the latest run, search or study that needs a trial, else the latest of all, else None."""
    found = every_run(store)
    return next((run for run in reversed(found) if trial.id in run.trials), found[-1] if found else None)


def cells_of(run: Run, typed: Command | None = None) -> Cells:
    """Return the cells of a run. Options that select no cells, such as --plugin, have the values that were ``typed``.

    One line says what this version does not know of the run.
    """
    known, reasons = split_known(noted_cells(run, typed))
    reasons += [f"this version has no option --{name.replace('_', '-')}" for name in gone_options(run)]
    if reasons:
        warn(f"The run {run.name} has settings that this version leaves out: {'; '.join(reasons)}")
    return known


def gone_options(run: Run) -> list[str]:
    """Return the options that a run was given and this version does not have."""
    here = {item.name for item in fields(Cells)}
    return [name for name, value in run.selection.items() if value and name not in here]


def noted_cells(run: Run, typed: Command | None = None) -> Cells:
    """Return the cells of a run as it noted them, with settings of --set that this version may refuse.

    Nothing is imported or warned of; ``cells_of`` leaves out what this version does not know.
    """
    cells = replace(_stored(run), methods=_methods(run))
    if typed is None:
        return cells
    selecting = {item.name for item in fields(Selecting)}
    others = [item.name for item in fields(Cells) if item.name not in selecting and item.name in typed.typed]
    changed: dict[str, Any] = {name: getattr(typed, name) for name in others}
    return replace(cells, **changed)


def request_of(run: Run, output: Path, typed: Command | None = None) -> Request:
    """Return the request for the cells of a run."""
    return read_request(cells_of(run, typed), output)


def keep_run(store: Store, run: Run, output: Path) -> None:
    """Write the note of a run. A run of version 0.1.0, whose files are at the top, first gets a folder of its own.

    The files of that run stay at the top if its trials are not known, because bench clean would take its trials for
    unused.
    """
    old = next((planned(item, store, output) for item in every_run(store) if item.is_old), None)
    if old is not None and old.trials:
        move_old_run(store, old)
        say(f"The reports of the earlier run, at the top of {output} until now, are in {output / FOLDER / old.name}.")
    save_run(store, run)


def planned(run: Run, store: Store, output: Path) -> Run:
    """Return a run of version 0.1.0 with the cells and trials that its options mean now.

    If its command cannot be read, one line says so, and the run is returned without cells and trials.
    """
    try:
        return with_trials(run, make(request_of(run, output), store))
    except BenchError as error:
        warn(f"The cells of the run {run.name} are not known, because its command cannot be read: {error}")
        return run


def with_trials(run: Run, plan: Plan) -> Run:
    """Return a run with the methods, cells and trials of its plan; the jobs of a sequence count as its cells."""
    cells = [(cell.trial.id, str(cell.trial.target)) for cell in plan.cells]
    scores = {str(target): tuple(item.key for item in asked) for target, asked in plan.asked.items() if target}
    if not plan.cells:
        scored = [job for job in plan.jobs if job.asked]
        cells = [(job.trial.id, job.trial.id) for job in scored]
        scores = {job.trial.id: tuple(item.key for item in job.asked) for job in scored}
    return replace(
        run,
        methods=plan.request.methods,
        cells=tuple(cells),
        scores=scores,
        trials=tuple(job.trial.id for job in plan.jobs),
    )


def new_run(kind: Kind, line: str, cells: Cells, reports: str = "", **more: object) -> Run:
    """Return a run that starts now, without its trials; ``more`` are further options that say which cells it means."""
    name = run_name(kind, {**cells.meaning(), **more})
    reports = reports or f"{FOLDER}/{name}"
    return Run(name=name, command=line, selection=cells.selection(), kind=kind, started=now(), reports=reports)


def same_cells(run: Run, cells: Cells) -> bool:
    """Whether the options of a run say the same as these, in the words of this version."""
    words = _stored(run).methods if run.methods else _methods(run)
    return replace(_stored(run), methods=words).meaning() == cells.meaning()


def _stored(run: Run) -> Cells:
    return Cells.selected(run.selection)


def _methods(run: Run) -> str:
    """Return the words that mean the run's methods in this version; an earlier one meant the paper's by ``all``."""
    words = _stored(run).methods.split(",")
    return ",".join(run.methods or ("paper" if word.strip() == "all" else word for word in words))
