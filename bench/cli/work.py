"""Run the pending jobs of a plan in lanes, and show progress on the screen and in MLflow."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from bench.console import say
from bench.errors import UsageError
from bench.lanes import lanes
from bench.lanes.progress import Progress, closing_line
from bench.lanes.setup import Launch, lane_setup, note_model
from bench.plan.plan import Plan
from bench.spec import Score
from bench.store.run_folder import Store
from bench.track import Mirror, tracking_uri

if TYPE_CHECKING:
    from bench.lanes.broker import Event


def check_output(output: Path, lanes: int | None) -> None:
    """Refuse a run folder that cannot hold the results of a command.

    Raises:
        UsageError: MLflow's database would be at a URL, or lanes cannot reach the run folder.
    """
    tracking_uri(output)
    if lanes != 0 and str(output).startswith("memory:"):
        raise UsageError(
            f"--output {output} is memory of this process, which other processes cannot read. Add --lanes 0."
        )


def perform(made: Plan, store: Store, launch: Launch, mirror: Mirror) -> None:
    """Run pending jobs, draw progress, mirror every record to MLflow, and print the speed at the end."""
    setup = lane_setup(made.request, store, launch)
    evaluated: list[Score] = []
    note_model(made.request.suite, store)
    events: Generator[Event] = lanes.run(made.pending, made.records, setup, launch.lanes)
    with closing(events), Progress(len(made.works), len(made.works) - len(made.pending)) as progress:
        for event in events:
            progress.take(event)
            if event.record is not None:
                mirror.take(event.record)
                before = made.records.get(event.trial)
                known = before.scores.keys() if before else ()
                evaluated += [score for key, score in event.record.scores.items() if key not in known]
    if line := closing_line(evaluated):
        say(line)
