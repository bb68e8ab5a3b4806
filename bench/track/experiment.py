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
from bench.store import left_out
from bench.store.changes import CHANGE
from bench.store.drafts import drafted
from bench.store.places import fetched, is_remote, modified
from bench.store.run_folder import RECORD, Store
from bench.track.chain_runs import ChainRun, change_units, write_chains
from bench.track.client import connect, fill_run, has_own_database, metric, open_experiment, units_tag
from bench.track.command_run import command_run, command_runs, origin
from bench.track.moved import local_folder
from bench.track.note import FIGURE, describe, picture
from bench.track.points import UNITS, frame_in_points
from bench.track.projection import Projection, project
from bench.track.shown import Shown
from bench.track.trial_names import TrialNames, tries_in
from bench.track.views import save_views
from bench.values.record import Record

if TYPE_CHECKING:
    from pandas import DataFrame

    from bench.leaderboard.tables import Leaderboard

_PARENT = "mlflow.parentRunId"
_LOSS = "train/loss"
_TABLE = "rows.json"  # not leaderboard.json, which is one of the reports


@dataclass(frozen=True, slots=True)
class Result:
    """What a command adds to its run at its end: a table, its reports' files, a sequence's chains, a description.

    Scores are fractions here; the experiment shows them in points.
    """

    table: DataFrame
    files: tuple[Path, ...] = ()
    chains: tuple[ChainRun, ...] = ()
    note: str = ""

    @classmethod
    def of_board(cls, board: Leaderboard, files: Sequence[Path]) -> Result:
        """Return a leaderboard as one table, and its reports."""
        return cls(board.whole_frame(), tuple(files), note=describe(board))


class Experiment:
    """A suite's experiment and the run of the command that writes to it; use it from one thread only.

    ``records`` are those of the suite that the run folder has.
    """

    def __init__(
        self,
        store: Store,
        suite: str,
        command: str,
        targets: Collection[str],
        registry: Registry,
        records: Collection[Record],
    ) -> None:
        self._store = store
        self._suite = suite
        self._command = command
        self._targets = targets
        self._registry = registry
        self._client = connect(store.root)
        self._opened = open_experiment(self._client, suite, store.root)
        self._id = str(self._opened.experiment_id)
        self._parent: str | None = None
        self._states: dict[tuple[str, str | None], str] = {}
        self._names = TrialNames(registry, SUITES.get(suite), tries_in(store.root))
        self._shown = Shown(records, self._sources)

    @property
    def is_older(self) -> bool:
        """Whether an earlier version wrote runs of the run folder, whose scores are fractions."""
        return bool(self._opened.tags.get(units_tag(self._store.root)) != UNITS)

    def write(self, record: Record, zero_shot: Record | None) -> bool:
        """Bring one trial's run up to date, or the base model's run for each target; return whether any was not."""
        if record.trial.rank is not None:
            return self._write(record, zero_shot, None)
        scored = {score.asked.task for score in record.scores.values()}
        each: list[str | None] = [*sorted(scored.intersection(self._targets))] or [None]
        return any([self._write(record, zero_shot, target) for target in each])

    def _write(self, record: Record, zero_shot: Record | None, of: str | None) -> bool:
        projection = self._project(record, zero_shot, of)
        trial, state = (record.trial.id, of), projection.state
        if self._states.get(trial) == state:
            return False
        run = self._found(record, of)
        current = run is not None and run.info.status != "RUNNING" and run.data.tags.get("state") == state
        if not current:
            own = self._own(run, record, projection)
            self._fill(own or self._create(record, projection, run), record, projection)
        if self._shown.add(projection):  # now, so that the view is there while a long command works
            save_views(self._client, self._client.get_experiment(self._id), list(self._shown.views()))
        self._states[trial] = state
        return not current

    def _project(self, record: Record, zero_shot: Record | None, of: str | None) -> Projection:
        without = left_out.read(self._store, (zero_shot or record).trial)
        name = " ".join(filter(None, (self._names.of(record.trial), of)))
        return project(record, zero_shot, self._targets, self._registry, without, self._sources, name=name, of=of)

    @property
    def _sources(self) -> Sequence[str]:
        suite = SUITES.get(self._suite)
        return suite.sources if suite else ()

    def _found(self, record: Record, of: str | None) -> Any | None:
        """Return the run of a trial, or None. Earlier versions showed the base model in one run without a target."""
        same = f"tags.trial = '{record.trial.id}'"
        wanted = [same] if of is None else [f"{same} and tags.target = '{of}'", f"{same} and tags.target IS NULL"]
        for condition in wanted:
            if runs := self._client.search_runs([self._id], condition, max_results=1):
                return runs[0]
        return None

    def add_result(self, result: Result) -> None:
        """Add a command's table, which MLflow shows, its reports and its chains to the command's run."""
        run = self._command_run()
        # written as log_table does, which would append to the table of an earlier run of the same command
        self._client.log_text(run, frame_in_points(result.table).to_json(orient="split", index=False), _TABLE)
        self._client.set_tag(run, "mlflow.loggedArtifacts", json.dumps([{"path": _TABLE, "type": "table"}]))
        for file in result.files:
            with fetched(file) as copy:
                self._client.log_artifact(run, str(copy))
        if result.note:
            drawn = any(file.name == FIGURE for file in result.files)
            self._client.set_tag(run, "mlflow.note.content", result.note + (picture(run) if drawn else ""))
        write_chains(self._client, self._id, self._suite, run, result.chains)

    def end(self, status: str) -> None:
        """End the command's run, if anything was written under it."""
        if self._parent is not None:
            self._client.set_terminated(self._parent, status)

    def modernize(self) -> None:
        """Note that every run of the run folder is in this version's units, after the chains' runs were changed."""
        root = self._store.root
        commands = None if has_own_database(root) else command_runs(self._client, self._id, root)
        change_units(self._client, self._id, commands)
        self._client.set_experiment_tag(self._id, units_tag(root), UNITS)

    def _own(self, run: Any | None, record: Record, projection: Projection) -> Any | None:
        """Return the run that was found if it can be brought up to date, or None.

        MLflow never changes a parameter of a run, and removes no metric. A run that an older version wrote with another
        value is deleted. So is one with a metric that is no longer written, if that metric may be a fraction, or if the
        run shows the base model's scores on several targets.
        """
        if run is None:
            return None
        params, metrics = run.data.params, run.data.metrics
        same = all(projection.params.get(name, value) == value for name, value in params.items())
        names = {_LOSS, *(name.replace("@", ":") for name in projection.metrics)}
        in_points = record.trial.rank is not None and run.data.tags.get("units") == UNITS
        if same and (in_points or metrics.keys() <= names):
            return run
        self._client.delete_run(run.info.run_id)
        return None

    def _create(self, record: Record, projection: Projection, replaced: Any | None) -> Any:
        """Create a trial's run, nested where the replaced run was or in the command's; it starts when the trial did."""
        seconds = record.cost.train_seconds + record.cost.evaluate_seconds
        target = {"target": projection.tags["target"]} if "target" in projection.tags else {}
        parent = None if replaced is None else replaced.data.tags.get(_PARENT)
        return self._client.create_run(
            self._id,
            start_time=_written(self._store, record) - round(1000 * seconds),
            tags={_PARENT: parent or self._command_run(), "trial": record.trial.id, **target},
            run_name=projection.name,
        )

    def _fill(self, run: Any, record: Record, projection: Projection) -> None:
        """Write files first and the state last, so that an interrupted write is repeated."""
        now = _written(self._store, record)
        self._add_files(run, record, projection)
        losses = [] if _has_losses(run) else self._store.change_of(record.trial).losses()
        metrics = [metric(_LOSS, loss, now, step) for step, loss in enumerate(losses, 1)]
        metrics += [metric(name, value, now, 0) for name, value in projection.metrics.items()]
        tags = {**projection.tags, **self._origin(record), "units": UNITS, "state": projection.state}
        fill_run(self._client, run, metrics, projection.params, tags)
        if run.info.run_name != projection.name:
            self._client.update_run(run.info.run_id, name=projection.name)
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
    return run.info.status != "RUNNING" and _LOSS in run.data.metrics


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
