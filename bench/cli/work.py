"""Do what a plan lacks: lanes work, MLflow is told, progress is drawn; then the leaderboard of what the store has."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING

from bench.cli import execution
from bench.console import say
from bench.errors import UsageError
from bench.lanes import cluster, lanes
from bench.lanes.progress import Progress, closing_line
from bench.model.checkpoints import pinned
from bench.plan.plan import Plan, Request
from bench.plugins import registry
from bench.spec import Record, Score
from bench.store import manifests, models
from bench.store.run_folder import Store
from bench.track import Mirror, tracking_uri

if TYPE_CHECKING:
    from bench.lanes.broker import Event
    from bench.plan.suite import Suite


def check_lanes(options: Namespace) -> None:
    """Refuse a negative number of lanes, a cluster that they cannot be on, and a way to run trials that is none."""
    if options.lanes is not None and options.lanes < 0:
        raise UsageError(f"--lanes is {options.lanes}; give 0 or more.")
    cluster.check_address(getattr(options, "address", None), options.lanes)
    execution.read(options)


def check_output(options: Namespace) -> None:
    """Refuse a run folder that cannot hold what the command would put there.

    Raises:
        UsageError: MLflow's database would lie at a URL, or the lanes could not reach it.
    """
    tracking_uri(options.output)
    if options.lanes != 0 and str(options.output).startswith("memory:"):
        raise UsageError(f"--output {options.output} is this process's own memory, which no lane sees. Add --lanes 0.")


def existing(options: Namespace) -> Store:
    """Return the store of a run folder that is there."""
    store = Store(options.output.resolve())
    store.check()
    if not store.root.is_dir():
        raise UsageError(f"There is no run folder {options.output}. Name one with --output.")
    return store


def lane_setup(request: Request, store: Store, options: Namespace) -> lanes.Setup:
    """Return what the lanes of a command need to know.

    Raises:
        DataError: a task lacks what it scores with.
    """
    scored = tuple(dict.fromkeys((*request.targets, *request.sources)))
    for name in scored:
        registry.load_task(name).ready()
    return lanes.Setup(
        store.root,
        request.suite.folder,
        tuple(path.resolve() for path in options.plugin),
        request.reading,
        request.tasks,
        execution.read(options),
        getattr(options, "address", None),
        scored=scored,
    )


def note_model(suite: Suite, store: Store) -> None:
    """Note in the run folder which model its trials' revision means."""
    models.note_model(store.root, suite.revision(), suite.name, pinned(suite.model))


def note_data(asked: Request, store: Store) -> None:
    """Note in the run folder what its tasks are read from and which examples are drawn; say what was left out."""
    for left_out in manifests.write(store, asked.targets, asked.sources, asked.split):
        say(left_out)


def perform(made: Plan, store: Store, options: Namespace, mirror: Mirror) -> None:
    """Do what is pending, drawing progress and mirroring every record to MLflow; say at the end how fast it was."""
    setup = lane_setup(made.request, store, options)
    evaluated: list[Score] = []
    note_model(made.request.suite, store)
    events: Generator[Event] = lanes.run(made.pending, made.records, setup, options.lanes)
    with closing(events), Progress(len(made.works), len(made.works) - len(made.pending)) as progress:
        for event in events:
            progress.take(event)
            if event.record is not None:
                mirror.take(event.record)
                evaluated += _added(event.record, made.records.get(event.trial))
    if line := closing_line(evaluated):
        say(line)


def _added(record: Record, before: Record | None) -> list[Score]:
    """Return the scores that a record did not have before."""
    return [score for key, score in record.scores.items() if before is None or key not in before.scores]
