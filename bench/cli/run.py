"""``bench run``: train, evaluate and rank methods; ``bench study`` takes the same steps."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.config_file import Kept
from bench.cli.launch_options import Starts
from bench.cli.options import Cells, Mix, Output, Sorted
from bench.cli.pages import put_page, tell_files, written_if_possible
from bench.cli.remembered import remember
from bench.cli.repeat import Repeats
from bench.cli.reports import (
    filled_board,
    list_failures,
    outline_of,
    print_board,
    tell_older,
    tell_sources,
    tell_unknown_words,
    write_reports,
    write_scores,
)
from bench.cli.request import check_curves, read_request, start_request
from bench.cli.run_again import shown_again, with_reports
from bench.cli.which_run import keep_run, new_run, tell_larger, with_trials
from bench.console import say, tell, warn
from bench.errors import BenchError, UsageError
from bench.lanes import lanes
from bench.lanes.progress import Progress, closing_line
from bench.lanes.setup import Launch, lane_setup, note_data, unteachable
from bench.plan.baselines import finish, make
from bench.plan.plan import Plan
from bench.plan.request import Request
from bench.plugins.registry import Registry
from bench.store import left_out
from bench.store.drafts import staged
from bench.store.run_folder import Census, Store
from bench.store.runs import Run, save_run
from bench.track import Mirror, Result, tracking_uri
from bench.values.scores import Score

if TYPE_CHECKING:
    from bench.lanes.broker import Event
    from bench.leaderboard.tables import Leaderboard
    from bench.page.page import Page


@dataclass(frozen=True, kw_only=True)
class RunOptions(Sorted, Mix, Starts, Output, Cells, Kept):
    """The options of ``bench run``, and of every command that runs a plan and ranks its cells."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command has written: the files, what MLflow shows, and what is printed: tables first, then lines.

    ``page`` returns its report page.
    """

    paths: Sequence[Path]
    lines: Iterable[str]
    result: Callable[[], Result]
    page: Callable[[], Page]
    show: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class RunSteps:
    """What distinguishes a command that runs a plan: its note, how it plans, and what it saves and writes.

    ``write`` writes the reports. ``end`` says the last lines, on the plan that was carried out.
    """

    run: Run
    plan: Callable[[Request, Store], Plan]
    save: Callable[[Plan, Store], None]
    write: Callable[[Plan, Store], Outcome]
    end: Callable[[Plan, Store], None] = lambda made, store: None


def run(options: RunOptions) -> int:
    """Train, evaluate and rank methods, and skip what the store already has."""
    noted, store = new_run("run", options.line, options), options.store()
    if not options.dry_run and shown_again(noted, options, store):
        return 0
    steps = RunSteps(noted, make, lambda made, store: None, partial(_write, options, noted))
    if options.methods.strip() == "paper":
        steps = replace(steps, end=partial(_tell_others, options))
    return carry_out(steps, options, options, Registry(options.plugin))


def _tell_others(options: RunOptions, paper: Plan, store: Store) -> None:
    """Say what --methods all adds to a run of the paper's methods, or why it is impossible with the same options."""
    from bench.prepare.price.others import addition  # imported here because it loads torch

    words, registry = replace(options, methods="all"), paper.request.registry
    try:
        request = read_request(words, options.output, registry, quiet=True)
        every = make(replace(request, tasks=paper.request.tasks), store)
    except BenchError as error:  # for instance, --tuned has no choice for one of the methods
        say(f"--methods all is not possible with the same options: {error}")
        return
    say(addition(paper, every, store, options.launch()))


def carry_out(steps: RunSteps, options: RunOptions, cells: Cells, registry: Registry) -> int:
    """Run what the store lacks of the plan for some cells, show the results, and return the exit code."""
    launch = options.launch()
    check_curves(cells)
    check_output(options.output, options.lanes)
    asked = (read_request if options.dry_run else start_request)(cells, options.output, registry)
    store = options.store()
    tell_unknown_words(asked)
    tell_older(store)
    plan = partial(steps.plan, asked, store)
    if options.dry_run:
        return _dry_run(plan(), store)
    with store.locked():
        made = plan()
        if reason := unteachable(made):
            plan = partial(steps.plan, replace(asked, unteachable=reason), store)
            made = plan()
        _begin(steps, made, store, options.output)
        with Mirror(store, made, options.line) as mirror:
            again = partial(_planned_again, plan, steps.run, store)
            made = finish(made, again, partial(_perform, options, store=store, launch=launch, mirror=mirror))
            finished, paths = _reported(steps, options, made, store, mirror)
    tell_files(paths, store.root, Path(steps.run.reports), options.output)
    tell_larger(finished, store, _census(made, store))
    code = list_failures(made, store)
    steps.end(made, store)
    return code


def _dry_run(made: Plan, store: Store) -> int:
    """List the trials of a plan, and return the exit code."""
    tell_sources(made, store)
    tell(made.lines())
    return 0


def _begin(steps: RunSteps, made: Plan, store: Store, output: Path) -> None:
    """Say what a command does, and note its run, its data and its sources before the first trial starts."""
    say(made.summary())
    for line in made.notes:
        warn(line)
    keep_run(store, with_trials(steps.run, made), output)
    steps.save(made, store)
    if made.pending:
        note_data(made.request, store)
    left_out.save(store, made.zero_shot, tell_sources(made, store))


def check_output(output: Path, lanes: int | None) -> None:
    """Refuse a run folder that cannot hold the results of a command.

    Raises:
        UsageError: MLflow's database would be at a URL, or lanes cannot reach the run folder.
    """
    tracking_uri(output)
    if lanes != 0 and str(output).startswith("memory:"):
        raise UsageError(
            f"--output {output} is held in this process's memory, so other processes cannot read it. Add --lanes 0."
        )


def _perform(options: RunOptions, made: Plan, store: Store, launch: Launch, mirror: Mirror) -> None:
    """Run pending jobs, draw progress, mirror every record to MLflow, and print the speed at the end."""
    launch = options.fitted(launch, lambda: made) if made.pending else launch
    setup = lane_setup(made.request, store, launch)
    evaluated: list[Score] = []
    work = {job.trial.id: made.work(job) for job in made.pending}
    progress = Progress(len(made.jobs), len(made.jobs) - len(made.pending), work)
    events: Generator[Event] = lanes.run(made.pending, made.records, setup, watch=progress.take)
    with closing(events), progress:
        for event in events:
            progress.take(event)
            if event.record is not None:
                if event.record.trial == made.zero_shot:
                    left_out.save(store, made.zero_shot, tell_sources(made, store))
                mirror.take(event.record)
                before = made.records.get(event.trial)
                known = before.scores.keys() if before else ()
                evaluated += [score for key, score in event.record.scores.items() if key not in known]
    if line := closing_line(evaluated):
        say(line)


def _planned_again(plan: Callable[[], Plan], run: Run, store: Store) -> Plan:
    """Return the plan that follows from the results so far, and note its trials as those of the run."""
    made = plan()
    save_run(store, with_trials(run, made))
    return made


def _reported(
    steps: RunSteps, options: RunOptions, made: Plan, store: Store, mirror: Mirror
) -> tuple[Run, Sequence[Path]]:
    """Write and print the results of a plan that was carried out, and return the note of its run and the files."""
    outcome = steps.write(made, store)
    finished = replace(with_trials(steps.run, made), finished=True)
    save_run(store, finished)
    mirror.finish(outcome.result)
    outcome.show()
    tell(outcome.lines)
    more: dict[str, Callable[[], Path]] = {  # the tables are there, so only a disk that refuses files fails the command
        "scores.parquet": lambda: write_scores(made, store, store.root / finished.reports),
        "The report page": lambda: put_page(outcome.page, store, finished),
    }
    last = written_if_possible(more)
    paths = [*outcome.paths, *last]
    save_run(store, with_reports(finished, options, store, paths, whole=len(last) == len(more)))
    return finished, paths


def _census(made: Plan, store: Store) -> Census:
    """Return the records when they were first read, and the scores that the command has added."""
    done = {key: frozenset(record.scores) for key, record in made.records.items()}
    return replace(store.census, scores={**store.census.scores, **done})


def _write(options: RunOptions, run: Run, made: Plan, store: Store) -> Outcome:
    """Write the leaderboard, and the trade-off curves if ``--rewind`` asks for them."""
    from bench.page.build import run_page  # imported here because a dry run needs no figures

    outline = outline_of(made)
    for cells in (options, replace(options, methods=",".join(made.request.methods))):  # bench leaderboard asks by names
        remember(cells, made, outline)
    ranked = filled_board(outline, store, options.line, mixed=options.mix, sort=options.sort)
    reports = store.root / run.reports
    paths = [*write_reports(ranked, reports), *_scatter(ranked, reports)]
    more, lines = _curves(made, ranked, store, reports) if made.request.strengths else ((), ())
    paths += more
    repeat = Repeats.of(options, options.output, made.request.registry, store, run.command)
    page = partial(run_page, ranked, made, store, more, repeat)
    return Outcome(paths, lines, partial(Result.of_board, ranked, paths), page, partial(print_board, ranked))


def _scatter(ranked: Leaderboard, folder: Path) -> Sequence[Path]:
    """Write the figure of Source against Target, and return its files."""
    from bench.leaderboard import scatter  # imported here because a dry run needs no figures

    with staged(folder) as here:
        names = [path.name for path in scatter.save(ranked, here)]
    return [folder / name for name in names]


def _curves(made: Plan, ranked: Leaderboard, store: Store, reports: Path) -> tuple[Sequence[Path], Iterable[str]]:
    """Write the trade-off curves, and return the files and the lines to print."""
    from bench.leaderboard import scatter, tradeoff

    found, folder = tradeoff.read(made, store), reports / tradeoff.FOLDER
    if not found:
        return (), ()
    with staged(folder) as here:
        names = [path.name for path in tradeoff.write(found, here, scatter.looks(ranked))]
    return [folder / name for name in names], tradeoff.lines(found, mixed=ranked.heading.mixed)
