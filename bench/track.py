"""MLflow, a projection of the store: written by the driver alone, never read back, rebuilt by ``bench sync``.

The only file that imports mlflow. An experiment per suite; in it a run per command, and under it a run per trial.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory, TemporaryFile
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bench.errors import StoreError, UsageError
from bench.projection import Projection, project, reference_of
from bench.spec import Record, digest
from bench.store import CHANGE, RECORD, Store
from bench.suite import by_revision

if TYPE_CHECKING:
    from bench.leaderboard import Leaderboard
    from bench.plan import Plan

log = logging.getLogger(__name__)

_VARIABLE = "MLFLOW_TRACKING_URI"
_DATABASE = "mlflow.db"
_ARTIFACTS = "mlartifacts"
_TABLE = "leaderboard.json"
_BATCH = 800  # a server takes 1,000 metrics, params and tags in one request; the last one carries all three
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # of 7, which take minutes: what is missed, bench sync brings
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_VIEW = "bench"
_COLUMNS = (
    *("metrics.`avg`", "metrics.`source/avg`", "metrics.`target/avg`", "metrics.`forgetting/avg`"),
    *("tags.`method`", "tags.`rank`", "tags.`target`", "tags.`seed`"),
)
_LEAVE = 10.0  # seconds that an interrupted command gives MLflow


def tracking_uri(output: Path) -> str:
    """Return where MLflow lies: ``MLFLOW_TRACKING_URI``, or else a database in the run folder.

    Raises:
        StoreError: the run folder is not on a disk, where a database cannot be.
    """
    chosen = os.environ.get(_VARIABLE)
    if chosen:
        return chosen
    if re.search(r"(^|/)[A-Za-z][A-Za-z0-9+.-]+:/", str(output)):
        raise StoreError(
            f"MLflow's database cannot lie in {output}, which is not on a disk. Set {_VARIABLE} to an MLflow server."
        )
    return f"sqlite:///{output.resolve()}/{_DATABASE}"


class Mirror:
    """Brings a command's records to MLflow as they come, in a thread of its own: the command never waits.

    The thread imports mlflow and opens it (up to 20 s the first time) at the first record. The first failure is
    one warning, and the last that MLflow hears of this command; ``bench sync`` makes up for it.
    """

    def __init__(self, store: Store, plan: Plan, command: str) -> None:
        self._store = store
        self._plan = plan
        self._command = command
        self._uri = tracking_uri(store.root)
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._taken: dict[str, Record] = {}
        self._board: Leaderboard | None = None
        self._files: tuple[Path, ...] = ()
        self._experiment: _Experiment | None = None
        self._stop = False

    def __enter__(self) -> Self:
        return self

    def take(self, record: Record) -> None:
        """Mirror a record, soon."""
        self._taken[record.trial.id] = record
        self._put(partial(self._write, record))

    def finish(self, board: Leaderboard, files: Sequence[Path]) -> None:
        """Add the command's leaderboard and the reports written of it."""
        self._board, self._files = board, tuple(files)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the command's run and wait for MLflow; an interrupted command drops what is still to be mirrored."""
        if self._thread is None:
            return
        self._stop = kind is not None
        self._jobs.put(partial(self._end, interrupted=kind is not None))
        self._jobs.put(None)
        self._thread.join(None if kind is None else _LEAVE)

    def _put(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception as error:  # noqa: BLE001  mlflow, its database and its network may raise anything
                log.warning(
                    "MLflow is not reachable (%s: %s); the run goes on; bench sync brings it up to date later.",
                    _without_password(self._uri),
                    _one_line(error),
                )
                return

    def _write(self, record: Record) -> None:
        if self._stop:
            return
        if self._experiment is None:
            suite = self._plan.request.suite.name
            targets = {*self._plan.request.targets, *_targets(self._store)}
            self._experiment = _Experiment(self._store, suite, self._command, targets)
        self._experiment.write(record, self._store.read(self._plan.zero_shot))

    def _end(self, interrupted: bool) -> None:
        if self._experiment is None:
            return
        if not interrupted:
            for record in self._taken.values():  # zero-shot may have come after the trials it is compared with
                self._write(record)
        if self._board is not None:
            self._experiment.add_board(self._board, self._files)
        failed = any(record.status == "failed" for record in self._taken.values())
        self._experiment.end("KILLED" if interrupted else "FAILED" if failed else "FINISHED")


def sync(store: Store) -> int:
    """Bring MLflow up to date with the store and return how many trials that took.

    Raises:
        StoreError: MLflow cannot be reached, or does not take them.
    """
    uri = tracking_uri(store.root)
    records = list(store.records())
    zero_shots = [record for record in records if record.trial.rank is None]
    suites: dict[str, list[Record]] = {}
    for record in records:
        suites.setdefault(_suite(record), []).append(record)
    written = 0
    try:
        for suite, members in suites.items():
            experiment = _Experiment(store, suite, "bench sync", _targets(store))
            written += sum(experiment.write(record, reference_of(record, zero_shots)) for record in members)
            experiment.end("FINISHED")
    except Exception as error:
        raise StoreError(
            f"MLflow at {_without_password(uri)} did not take the run folder: {_one_line(error)} "
            f"Start the server, or set {_VARIABLE} to one that runs."
        ) from error
    return written


def ui(output: Path, port: int, say: Callable[[str], None] = log.warning) -> int:
    """Serve MLflow on this machine until Ctrl-C; ``say`` is told the address.

    Raises:
        UsageError: there is nothing to serve, or the port is taken.
        StoreError: the server does not start, or ends by itself.
    """
    uri = tracking_uri(output)
    if urlsplit(uri).scheme in {"http", "https", "databricks"}:
        raise UsageError(f"{_VARIABLE} names a server that runs already: open {_without_password(uri)}.")
    if uri.startswith("sqlite:") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise UsageError(f"{output} has nothing for MLflow to show yet. Run bench run or bench sync first.")
    _check_free(port)
    before = {each: signal.signal(each, signal.default_int_handler) for each in (signal.SIGTERM, signal.SIGHUP)}
    with TemporaryFile() as noise:
        server = subprocess.Popen(
            _server_command(uri, output, port),
            env={**os.environ, **_SETTINGS, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=noise,
            stderr=noise,
            start_new_session=True,  # Ctrl-C is ours; we end the server and its workers together
        )
        try:
            _wait_until_ready(server, port, noise)
            for line in _addresses(port):
                say(line)
            server.wait()
            raise StoreError(f"MLflow's server ended: {_last_words(noise)}")
        except KeyboardInterrupt:
            return 0
        finally:
            _end_server(server)
            for each, handler in before.items():
                signal.signal(each, handler)


class _Experiment:
    """A suite's experiment and the run of the command that writes to it; for one thread."""

    def __init__(self, store: Store, suite: str, command: str, targets: Collection[str]) -> None:
        self._store = store
        self._suite = suite
        self._command = command
        self._targets = targets
        self._client = _client(tracking_uri(store.root))
        self._id = _experiment(self._client, suite, store.root)
        self._parent: str | None = None
        self._states: dict[str, str] = {}

    def write(self, record: Record, zero_shot: Record | None) -> bool:
        """Bring one trial's run up to date; return whether there was anything to do."""
        projection = project(record, zero_shot, self._targets)
        trial, state = record.trial.id, projection.state
        if self._states.get(trial) == state:
            return False
        runs = self._runs(f"tags.trial = '{trial}'")
        if runs and runs[0].info.status != "RUNNING" and runs[0].data.tags.get("state") == state:
            self._states[trial] = state
            return False
        self._fill(runs[0] if runs else self._create(record, projection.name), record, projection)
        self._states[trial] = state
        return True

    def add_board(self, board: Leaderboard, files: Sequence[Path]) -> None:
        """Put the leaderboard, as a table MLflow shows, and the reports under the command's run."""
        import pandas as pd

        frames = [board.frame(table.target).assign(target=table.target) for table in board.tables]
        frame = pd.concat(frames, ignore_index=True)
        frame.insert(0, "target", frame.pop("target"))
        run = self._command_run()
        # what log_table writes; that one appends to the table of an earlier run of the same command
        self._client.log_text(run, frame.to_json(orient="split", index=False), _TABLE)
        self._client.set_tag(run, "mlflow.loggedArtifacts", json.dumps([{"path": _TABLE, "type": "table"}]))
        for file in files:
            self._client.log_artifact(run, str(file))

    def end(self, status: str) -> None:
        """End the command's run, if anything was written under it."""
        if self._parent is not None:
            self._client.set_terminated(self._parent, status)

    def _runs(self, condition: str) -> list[Any]:
        return list(self._client.search_runs([self._id], condition, max_results=100))

    def _create(self, record: Record, name: str) -> Any:
        """Create a trial's run under the command's; it begins when the trial began."""
        seconds = record.cost.train_seconds + record.cost.evaluate_seconds
        return self._client.create_run(
            self._id,
            start_time=_written(self._store, record) - round(1000 * seconds),
            tags={"mlflow.parentRunId": self._command_run(), "trial": record.trial.id},
            run_name=name,
        )

    def _fill(self, run: Any, record: Record, projection: Projection) -> None:
        """Write files first and the state last, so that a run that was cut short is done again."""
        key, now = run.info.run_id, _written(self._store, record)
        self._add_files(run, record, projection)
        losses = [] if _has_losses(run) else self._store.read_losses(record.trial)
        metrics = [_metric("train/loss", loss, now, step) for step, loss in enumerate(losses, 1)]
        metrics += [_metric(name, value, now, 0) for name, value in projection.metrics.items()]
        while len(metrics) > _BATCH:
            self._client.log_batch(key, metrics[:_BATCH])
            metrics = metrics[_BATCH:]
        tags = {**projection.tags, **self._origin(record), "state": projection.state}
        params = {name: value for name, value in projection.params.items() if name not in run.data.params}
        self._client.log_batch(key, metrics, *_pairs(params, tags))
        for stale in run.data.tags.keys() - tags.keys():
            if not stale.startswith("mlflow."):
                self._client.delete_tag(key, stale)
        self._client.set_terminated(key, "FINISHED" if record.status == "done" else "FAILED", now)

    def _origin(self, record: Record) -> dict[str, str]:
        commit = record.environment.get("commit", "")
        return {"suite": self._suite, **_origin(), **({"mlflow.source.git.commit": commit} if commit else {})}

    def _add_files(self, run: Any, record: Record, projection: Projection) -> None:
        """Add the change as ``adapter``, answers as ``predictions/<task>.jsonl``, and a failure's traceback."""
        folder = self._store.folder(record.trial)
        files = {f"predictions/{task}.jsonl": folder / name for task, name in projection.predictions.items()}
        files |= {f"adapter/{path.name}": path for path in (folder / CHANGE).glob("*")}
        files["error.txt"] = folder / "error.txt"
        there = {name: path for name, path in files.items() if path.is_file()}
        if not there:
            return
        place = urlsplit(run.info.artifact_uri)
        if place.scheme in {"", "file"}:
            _link(there, Path(url2pathname(place.path)))
            return
        with TemporaryDirectory(prefix=".mlflow-", dir=self._store.root) as draft:
            _link(there, Path(draft))
            self._client.log_artifacts(run.info.run_id, draft)

    def _command_run(self) -> str:
        """Return the command's run: the one of the same command on the same run folder goes on."""
        if self._parent is None:
            output = f"{socket.gethostname()}:{self._store.root.resolve()}"
            for run in self._runs(f"tags.kind = 'command' and tags.folder = '{_key(output)}'"):
                if run.data.tags.get("command") == self._command:
                    self._parent = run.info.run_id
                elif run.info.status == "RUNNING":  # one command at a time works in a run folder: this one died
                    self._client.set_terminated(run.info.run_id, "KILLED")
            if self._parent is None:
                self._parent = self._create_parent(output)
            self._client.update_run(self._parent, "RUNNING")
        return self._parent

    def _create_parent(self, output: str) -> str:
        tags = {
            "kind": "command",
            "command": self._command,
            "output": output,
            "folder": _key(output),
            "suite": self._suite,
            "mlflow.note.content": f"`{self._command}`\n\nin `{output}`",
            **_origin(),
        }
        run = self._client.create_run(self._id, tags=tags, run_name=self._command[:250])
        return str(run.info.run_id)


def _client(uri: str) -> Any:
    """Return a client of its own settings; mlflow's global ones stay as they are."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # they tell of every table they create
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _experiment(client: Any, suite: str, output: Path) -> str:
    """Return the id of a suite's experiment, created if it is not there."""
    known = client.get_experiment_by_name(suite)
    if known is not None:
        if known.lifecycle_stage == "deleted":
            client.restore_experiment(known.experiment_id)
        return str(known.experiment_id)
    in_folder = not os.environ.get(_VARIABLE)
    return str(
        client.create_experiment(
            suite,
            artifact_location=(output.resolve() / _ARTIFACTS).as_uri() if in_folder else None,
            tags={
                "mlflow.experimentKind": "custom_model_development",  # else the UI asks what it is for
                f"mlflow.sharedViewState.{_VIEW}": _view(),
            },
        )
    )


def _view() -> str:
    """Return the saved view that ``ui`` opens: every trial with its scores, best first.

    Without it MLflow's table shows no metric at all. The form is that of its "Views" menu (3.17).
    """
    state = {
        "searchFilter": "tags.kind != 'command'",
        "orderByKey": "metrics.`avg`",
        "orderByAsc": False,
        "runsHiddenMode": "SHOW_ALL",  # in charts, of ten
        "selectedColumns": _COLUMNS,
    }
    return json.dumps({"name": "Leaderboard", "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)})


def _metric(name: str, value: float, timestamp: int, step: int) -> Any:
    from mlflow.entities import Metric

    return Metric(name, value, timestamp, step)


def _pairs(params: Mapping[str, str], tags: Mapping[str, str]) -> tuple[list[Any], list[Any]]:
    from mlflow.entities import Param, RunTag

    return [Param(*item) for item in params.items()], [RunTag(*item) for item in tags.items()]


def _has_losses(run: Any) -> bool:
    return run.info.status != "RUNNING" and "train/loss" in run.data.metrics


def _origin() -> dict[str, str]:
    """Return who and what MLflow's own columns name."""
    tags = {"mlflow.source.name": "bench", "mlflow.source.type": "LOCAL"}
    with suppress(OSError, KeyError):  # a container may run under a number without a name
        tags["mlflow.user"] = getpass.getuser()
    return tags


def _written(store: Store, record: Record) -> int:
    """Return when a record was written, in milliseconds; now, where it never was."""
    path = store.folder(record.trial) / RECORD
    return round(1000 * (path.stat().st_mtime if path.is_file() else time.time()))


def _link(files: Mapping[str, Path], folder: Path) -> None:
    """Put files into a folder without copying, where the disk can: the adapters of a 7B model are gigabytes."""
    for name, path in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        try:
            place.hardlink_to(path)
        except OSError:
            shutil.copyfile(path, place)


def _targets(store: Store) -> set[str]:
    """Return every task that a trial of the store learns."""
    return {record.trial.target for record in store.records() if record.trial.target}


def _suite(record: Record) -> str:
    """Return the suite of a record, or its model's revision where that suite has changed since."""
    try:
        return by_revision(record.trial.model).name
    except UsageError:
        return record.trial.model


def _key(output: str) -> str:
    """Return what stands for a run folder in a filter, where a path's quotes cannot."""
    return digest(output)[:12]


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return _without_password(text if len(text) <= 300 else f"{text[:300]} …")


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]+@", "//", text)


def _check_free(port: int) -> None:
    try:
        with socket.create_server(("127.0.0.1", port)):
            pass
    except (OSError, OverflowError) as error:
        raise UsageError(f"Port {port} cannot be used ({error}). Choose another with --port.") from error


def _server_command(uri: str, output: Path, port: int) -> list[str]:
    options = {
        "--backend-store-uri": uri,
        "--artifacts-destination": (output.resolve() / _ARTIFACTS).as_uri(),
        "--host": "127.0.0.1",
        "--port": str(port),
        "--allowed-hosts": "localhost:*,127.0.0.1:*",
        "--workers": "1",
    }
    words = [word for option in options.items() for word in option]
    return [sys.executable, "-m", "mlflow", "server", *words]


def _wait_until_ready(server: subprocess.Popen[bytes], port: int, noise: IO[bytes]) -> None:
    """Return when the server answers.

    Raises:
        StoreError: it ended first; with its last words.
    """
    while server.poll() is None:
        with suppress(OSError, HTTPException):
            _request(port, "GET", "/health")
            return
        time.sleep(0.2)
    raise StoreError(f"MLflow's server did not start: {_last_words(noise)}")


def _last_words(noise: IO[bytes]) -> str:
    noise.seek(0)
    lines = noise.read().decode(errors="replace").strip().splitlines() or ["it gave no reason"]
    return _without_password(lines[-1])


def _addresses(port: int) -> list[str]:
    """Return what to open: the leaderboard view of every suite's experiment."""
    answer = _request(port, "POST", "/api/2.0/mlflow/experiments/search", {"max_results": 100})
    lines = [f"MLflow is at http://127.0.0.1:{port} (Ctrl-C ends it)"]
    for item in json.loads(answer).get("experiments", ()):
        if any(tag["key"].endswith(f".{_VIEW}") for tag in item.get("tags", ())):
            place = f"#/experiments/{item['experiment_id']}/runs?viewStateShareKey={_VIEW}"
            lines.append(f"{item['name']}: http://127.0.0.1:{port}/{place}")
    return lines


def _request(port: int, verb: str, path: str, body: Mapping[str, object] | None = None) -> bytes:
    """Ask the server on this machine, past any proxy."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        text = None if body is None else json.dumps(body)
        connection.request(verb, path, text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise HTTPException(f"{path}: {answer.status}")
        return answer.read()


def _end_server(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers, which share its process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(5)
            return
