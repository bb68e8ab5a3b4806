"""What each verb of the command line does. Results go to stdout, all else to stderr."""

from __future__ import annotations

import json
import logging
import sys
from argparse import Namespace
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench import lanes, registry, request
from bench.environment import commit
from bench.errors import StoreError, UsageError
from bench.plan import Plan, make
from bench.progress import Progress
from bench.store import Store, replace_file
from bench.suite import SUITES
from bench.track import Mirror

if TYPE_CHECKING:
    from bench.broker import Event
    from bench.leaderboard import Leaderboard

log = logging.getLogger(__name__)

_COMMAND = "command.json"
_PLAIN_WIDTH = 120
_SUFFIXES = {"markdown": "md", "latex": "tex", "csv": "csv", "table": "txt"}


def run(options: Namespace) -> int:
    """Train, evaluate and rank; what the store has is not done again."""
    asked = request.read(options)
    _check_lanes(options)
    store = Store(options.output.resolve())
    store.check()
    if options.dry_run:
        return _print_plan(make(asked, store))
    with store.locked():
        made = make(asked, store)
        _say(summary(made))
        replace_file(store.root / _COMMAND, json.dumps(_saved(options), indent=1) + "\n")
        with Mirror(store, made, _line(options)) as mirror:
            _work(made, store, options, mirror)
            board = _board(made, store, options)
            paths = _write_reports(board, store)
            mirror.finish(board, paths)
    _print_table(board)
    for path in paths:
        _say(f"wrote {path}")
    return _list_failures(made, store)


def plan(options: Namespace) -> int:
    """Print what a run would do."""
    asked, store = request.read(options), Store(options.output.resolve())
    store.check()
    return _print_plan(make(asked, store))


def summary(made: Plan) -> str:
    """Return a plan in one line."""
    trainings = made.trainings
    cached = sum(made.done(work) for work in trainings)
    ready = sum(made.done(work) for work in made.works)
    return (
        f"{len(made.cells)} cells, {len(trainings)} trainings; cached: {ready} of {len(made.works)} trials, "
        f"{cached} of {len(trainings)} trainings"
    )


def search(options: Namespace) -> int:
    """Tune every method with the same budget, on validation."""
    from bench.search import command
    from bench.tuned import FILE

    asked = replace(request.read(options), split="validation")
    _check_lanes(options)
    if asked.tuned:
        raise UsageError("--tuned is for bench run: it takes what bench search has found.")
    if options.lanes == 0:
        raise UsageError("--lanes is 0; a search runs on Ray Tune and needs at least one lane.")
    if options.trials < 1:
        raise UsageError(f"--trials is {options.trials}; give at least 1.")
    outcomes = command.run(asked, options, _say)
    for line in command.lines(outcomes):
        print(line)
    _say(f"wrote {options.output / FILE}")
    return 1 if any(outcome.failed for outcome in outcomes) else 0


def ls(options: Namespace) -> int:
    """List what there is to choose from, or what a run folder holds."""
    lists: dict[str, Callable[[], Iterable[str]]] = {
        "methods": lambda: registry.names("method"),
        "tasks": lambda: registry.names("task"),
        "suites": lambda: sorted(SUITES),
        "trials": lambda: _trial_lines(_existing(options)),
    }
    for line in lists[options.what]():
        print(line)
    return 0


def leaderboard(options: Namespace) -> int:
    """Print the leaderboard from the store, and nothing else, on stdout."""
    store = Store(options.output.resolve())
    saved = store.root / _COMMAND
    store.check()
    if request.is_default(options.words):
        if not saved.is_file():
            raise UsageError(f"{options.output} has no run yet. Start one: bench run --output {options.output}")
        options = request.from_selection(_last(store)["selection"], options)
    board = _board(make(request.read(options), store), store, options)
    if options.format == "table":
        _print_table(board)
    else:
        print(_rendered(options.format, board), end="")
    return 0


def show(options: Namespace) -> int:
    """Print one trial."""
    from bench.show import command_line, examples, overview

    store = _existing(options)
    record = store.find(options.trial)
    plugins = options.plugin or _plugins(store)
    for path in plugins:
        registry.add_file(path)
    if options.command:
        print(command_line(record, options.output, plugins))
    elif options.examples:
        print(examples(record, store))
    else:
        print(overview(record, store))
    return 0


def check(options: Namespace) -> int:
    """Test plugins against the rules of their kind."""
    from bench.checks import run_checks

    failed = 0
    for name in options.names:
        for result in run_checks(name):
            failed += not result.passed
            print(result)
    return 1 if failed else 0


def export(options: Namespace) -> int:
    """Write a trial as an adapter or as a merged model."""
    from bench.export import write_adapter, write_merged

    store = _existing(options)
    record = store.find(options.trial)
    if options.adapter is not None:
        write_adapter(record, store, options.adapter)
    else:
        write_merged(record, store, options.merged)
    _say(f"wrote {options.adapter or options.merged}")
    return 0


def clean(options: Namespace) -> int:
    """Free what no leaderboard needs, asking first."""
    from bench.clean import free, waste

    store = _existing(options)
    with store.locked():
        found = waste(store, _referenced(store, options))
        for item in found:
            print(f"{item.bytes / 1e6:9.1f} MB  {item.path}  ({item.reason})")
        total = sum(item.bytes for item in found)
        if not found:
            _say("Nothing to free.")
            return 0
        if not options.yes and not _agreed(f"Delete {len(found)} items, {total / 1e6:.1f} MB? [y/N] "):
            _say("Nothing was deleted.")
            return 0
        free(found)
    _say(f"Freed {total / 1e6:.1f} MB.")
    return 0


def pretrain(options: Namespace) -> int:
    """Build the base model of an embedded suite."""
    suite = request.read_suite(options.suite)
    from bench.pretrain.card import build

    folder = options.to or suite.model
    Store(folder).prepare()
    build(folder, seed=options.seed, progress=_say)
    _say(f"wrote {folder}")
    return 0


def ui(options: Namespace) -> int:
    """Open MLflow on this machine."""
    from bench.track import ui as serve

    return serve(options.output.resolve(), options.port, _say)


def sync(options: Namespace) -> int:
    """Bring MLflow up to date."""
    from bench.track import sync as mirror

    store = _existing(options)
    with store.locked():
        count = mirror(store)
    _say(f"MLflow is up to date: {count} trials written.")
    return 0


def _check_lanes(options: Namespace) -> None:
    if options.lanes is not None and options.lanes < 0:
        raise UsageError(f"--lanes is {options.lanes}; give 0 or more.")


def _existing(options: Namespace) -> Store:
    """Return the store of a run folder that is there."""
    store = Store(options.output.resolve())
    store.check()
    if not store.root.is_dir():
        raise UsageError(f"There is no run folder {options.output}. Name one with --output.")
    return store


def _last(store: Store) -> dict[str, Any]:
    """Return the last run's command line and selection."""
    path = store.root / _COMMAND
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        return {"command": data["command"], "selection": data["selection"]}
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged ({error}). Delete it and run bench run again.") from error


def _plugins(store: Store) -> list[Path]:
    """Return the plugin files of the last run."""
    saved = store.root / _COMMAND
    return [Path(path) for path in _last(store)["selection"]["plugin"]] if saved.is_file() else []


def _work(made: Plan, store: Store, options: Namespace, mirror: Mirror) -> None:
    """Do what is pending, drawing progress and mirroring every record to MLflow."""
    setup = lanes.Setup(store.root, made.request.suite.model, tuple(path.resolve() for path in options.plugin))
    events: Generator[Event] = lanes.run(made.pending, made.records, setup, options.lanes)
    with closing(events), Progress(len(made.works), len(made.works) - len(made.pending)) as progress:
        for event in events:
            progress.take(event)
            if event.record is not None:
                mirror.take(event.record)


def _board(made: Plan, store: Store, options: Namespace) -> Leaderboard:
    from bench.leaderboard import Heading
    from bench.standings import leaderboard as stand

    heading = Heading(made.request.suite.name, command=_ran(store, options), commit=commit())
    return stand(made, store, heading)


def _ran(store: Store, options: Namespace) -> str:
    """Return the command whose cells are shown."""
    saved = store.root / _COMMAND
    if saved.is_file():
        data = _last(store)
        if {"tuned": None, **data["selection"]} == request.selection(options):
            return str(data["command"])
    return _line(options)


def _line(options: Namespace) -> str:
    return " ".join(["bench", *options.words])


def _saved(options: Namespace) -> dict[str, object]:
    return {"command": _line(options), "selection": request.selection(options)}


def _write_reports(board: Leaderboard, store: Store) -> list[Path]:
    return [
        registry.load_report(name)(board, store.root / f"leaderboard.{_SUFFIXES.get(name, name)}")
        for name in registry.names("report")
    ]


def _list_failures(made: Plan, store: Store) -> int:
    failures = []
    for work in made.works:
        record = store.read(work.trial)
        if record is None or record.status == "failed":
            failures.append((work.trial, record))
    for trial, record in failures:
        reason = record.error if record else "did not run"
        _say(f"failed: {trial.label}: {reason} ({store.folder(trial)}/error.txt)")
    return 1 if failures else 0


def _print_plan(made: Plan) -> int:
    print(summary(made))
    for work in made.works:
        scores = f"{len(work.asked)} scores" if work.asked else "no scores of its own"
        parent = f", edits {work.trial.parent.label}" if work.trial.parent else ""
        state = "cached" if made.done(work) else "to do"
        print(f"  {state}  {work.trial.id}  {work.trial.label}: {scores}{parent}")
    return 0


def _print_table(board: Leaderboard) -> None:
    from rich.console import Console

    console = Console(soft_wrap=True)
    console.print(registry.load_terminal()(board, console.width if console.is_terminal else _PLAIN_WIDTH))


def _rendered(name: str, board: Leaderboard) -> str:
    with TemporaryDirectory() as folder:
        path: Path = registry.load_report(name)(board, Path(folder) / name)
        return path.read_text()


def _trial_lines(store: Store) -> Iterator[str]:
    for record in store.records():
        seconds = record.cost.train_seconds + record.cost.evaluate_seconds
        yield f"{record.trial.id}  {record.status:6}  {seconds:7.1f} s  {record.trial.label}"


def _referenced(store: Store, options: Namespace) -> set[str]:
    """Return the ids of the trials that the last run's leaderboard stands on."""
    saved = store.root / _COMMAND
    if not saved.is_file():
        raise UsageError(f"{store.root} has no run; nothing can be told to be unreferenced.")
    chosen = request.from_selection(_last(store)["selection"], options)
    return {work.trial.id for work in make(request.read(chosen), store).works}


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
