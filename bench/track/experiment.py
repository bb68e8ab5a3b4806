"""A suite's experiment in MLflow: one run per command, and nested in it one run per trial."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench.plan.suite import SUITES
from bench.plugins.registry import Registry
from bench.spec import Record
from bench.store import left_out
from bench.store.changes import CHANGE
from bench.store.places import drafted, fetched, is_remote, modified
from bench.store.run_folder import RECORD, Store
from bench.track.chain_runs import ChainRun, write_chains
from bench.track.client import connect, fill_run, metric, open_experiment
from bench.track.command_run import command_run, origin
from bench.track.moved import local_folder
from bench.track.note import describe
from bench.track.projection import Projection, project

if TYPE_CHECKING:
    from pandas import DataFrame

    from bench.leaderboard.tables import Leaderboard

_TABLE = "rows.json"  # not leaderboard.json, which is one of the reports


@dataclass(frozen=True, slots=True)
class Result:
    """What a command adds to its run at its end: a table, its reports' files, a sequence's chains, a description."""

    table: DataFrame
    files: tuple[Path, ...] = ()
    chains: tuple[ChainRun, ...] = ()
    note: str = ""

    @classmethod
    def of_board(cls, board: Leaderboard, files: Sequence[Path]) -> Result:
        """Return a leaderboard as one table, and its reports."""
        import pandas as pd

        frames = [board.frame(table.target).assign(target=table.target) for table in board.tables]
        frame = pd.concat(frames, ignore_index=True)
        frame.insert(0, "target", frame.pop("target"))
        return cls(frame, tuple(files), note=describe(board))


class Experiment:
    """A suite's experiment and the run of the command that writes to it; use it from one thread only."""

    def __init__(self, store: Store, suite: str, command: str, targets: Collection[str], registry: Registry) -> None:
        self._store = store
        self._suite = suite
        self._command = command
        self._targets = targets
        self._registry = registry
        self._client = connect(store.root)
        self._id = open_experiment(self._client, suite, store.root)
        self._parent: str | None = None
        self._states: dict[str, str] = {}

    def write(self, record: Record, zero_shot: Record | None) -> bool:
        """Bring one trial's run up to date; return whether anything was written."""
        without = left_out.read(self._store, (zero_shot or record).trial)
        suite = SUITES.get(self._suite)
        sources = suite.sources if suite else ()
        projection = project(record, zero_shot, self._targets, self._registry, without, sources)
        trial, state = record.trial.id, projection.state
        if self._states.get(trial) == state:
            return False
        runs = self._client.search_runs([self._id], f"tags.trial = '{trial}'", max_results=1)
        current = bool(runs) and runs[0].info.status != "RUNNING" and runs[0].data.tags.get("state") == state
        if not current:
            self._fill(self._own(runs, projection.params) or self._create(record, projection.name), record, projection)
        self._states[trial] = state
        return not current

    def add_result(self, result: Result) -> None:
        """Add a command's table, which MLflow shows, its reports and its chains to the command's run."""
        run = self._command_run()
        # written as log_table does, which would append to the table of an earlier run of the same command
        self._client.log_text(run, result.table.to_json(orient="split", index=False), _TABLE)
        self._client.set_tag(run, "mlflow.loggedArtifacts", json.dumps([{"path": _TABLE, "type": "table"}]))
        for file in result.files:
            with fetched(file) as copy:
                self._client.log_artifact(run, str(copy))
        if result.note:
            self._client.set_tag(run, "mlflow.note.content", result.note)
        write_chains(self._client, self._id, self._suite, run, result.chains)

    def end(self, status: str) -> None:
        """End the command's run, if anything was written under it."""
        if self._parent is not None:
            self._client.set_terminated(self._parent, status)

    def _own(self, runs: Sequence[Any], params: Mapping[str, str]) -> Any | None:
        """Return a trial's run, or None if there is none yet.

        MLflow never changes a parameter of a run. A run that an older version wrote with another value is deleted.
        """
        if not runs:
            return None
        if all(params.get(name, value) == value for name, value in runs[0].data.params.items()):
            return runs[0]
        self._client.delete_run(runs[0].info.run_id)
        return None

    def _create(self, record: Record, name: str) -> Any:
        """Create a trial's run nested in the command's; its start time is the trial's."""
        seconds = record.cost.train_seconds + record.cost.evaluate_seconds
        return self._client.create_run(
            self._id,
            start_time=_written(self._store, record) - round(1000 * seconds),
            tags={"mlflow.parentRunId": self._command_run(), "trial": record.trial.id},
            run_name=name,
        )

    def _fill(self, run: Any, record: Record, projection: Projection) -> None:
        """Write files first and the state last, so that an interrupted write is repeated."""
        now = _written(self._store, record)
        self._add_files(run, record, projection)
        losses = [] if _has_losses(run) else self._store.change_of(record.trial).losses()
        metrics = [metric("train/loss", loss, now, step) for step, loss in enumerate(losses, 1)]
        metrics += [metric(name, value, now, 0) for name, value in projection.metrics.items()]
        tags = {**projection.tags, **self._origin(record), "state": projection.state}
        fill_run(self._client, run, metrics, projection.params, tags)
        self._client.set_terminated(run.info.run_id, "FINISHED" if record.status == "done" else "FAILED", now)

    def _origin(self, record: Record) -> dict[str, str]:
        commit = record.environment.get("commit", "")
        return {"suite": self._suite, **origin(), **({"mlflow.source.git.commit": commit} if commit else {})}

    def _add_files(self, run: Any, record: Record, projection: Projection) -> None:
        """Add the change as ``adapter``, answers as ``predictions/<task>.jsonl``, and a failure's traceback."""
        folder = self._store.folder(record.trial)
        files = {f"predictions/{task}.jsonl": folder / name for task, name in projection.predictions.items()}
        files |= {f"adapter/{path.name}": path for path in (folder / CHANGE).glob("*")}
        files["error.txt"] = folder / "error.txt"
        there = {name: path for name, path in files.items() if path.is_file()}
        if not there:
            return
        place = local_folder(run.info.artifact_uri)
        if place is not None:
            _link(there, place)
            return
        beside = None if is_remote(self._store.root) else self._store.root  # hard links need one disk
        with TemporaryDirectory(prefix=".mlflow-", dir=beside) as draft:
            _link(there, Path(draft))
            self._client.log_artifacts(run.info.run_id, draft)

    def _command_run(self) -> str:
        """Return the command's run; start it if necessary."""
        if self._parent is None:
            self._parent = command_run(self._client, self._id, self._suite, self._store.root, self._command)
        return self._parent


def _has_losses(run: Any) -> bool:
    return run.info.status != "RUNNING" and "train/loss" in run.data.metrics


def _written(store: Store, record: Record) -> int:
    """Return the time when a record was written, in milliseconds; the current time if it was not."""
    path = store.folder(record.trial) / RECORD
    return round(1000 * (modified(path) if path.is_file() else time.time()))


def _link(files: Mapping[str, Path], folder: Path) -> None:
    """Link files into a folder, or copy them if links fail: a 7B model's adapters take gigabytes."""
    for name, path in files.items():
        place = folder / name
        with fetched(path) as copy, drafted(place, lasting=False) as draft:
            try:
                draft.hardlink_to(copy)
            except OSError:
                shutil.copyfile(copy, draft)
