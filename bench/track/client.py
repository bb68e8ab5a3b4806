"""The connection to MLflow: its address, and values in its types. Only this file imports mlflow."""

from __future__ import annotations

import logging
import os
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import BenchError, StoreError, UsageError, one_line, without_password
from bench.store.databases import database_file, database_url
from bench.store.disk_errors import refusal
from bench.store.drafts import drafted
from bench.store.places import is_remote
from bench.track.command_run import folder_digest, output_name
from bench.track.moved import ARTIFACTS, follow, local_folder
from bench.track.points import UNITS

VARIABLE = "MLFLOW_TRACKING_URI"
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # not 7, which take minutes; bench sync sends what is missing
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}

_BATCH = 800  # a request may hold 1,000 metrics, params and tags; the last request carries all three
_DATABASE = "mlflow.db"


def tracking_uri(output: Path) -> str:
    """Return MLflow's address: ``MLFLOW_TRACKING_URI``, or a database in the run folder.

    Raises:
        UsageError: the run folder is not on a disk, so it cannot hold a database.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return chosen
    if is_remote(output) or re.search(r"(^|/)[A-Za-z][A-Za-z0-9+.-]+:/", str(output)):
        raise UsageError(
            f"MLflow's database cannot be in {output}, which is not on a disk. Set {VARIABLE} to an MLflow server, "
            "or to a database such as sqlite:////home/me/mlflow.db."
        )
    return database_url(output.resolve() / _DATABASE)


def database_is_here(root: Path) -> bool:
    """Whether MLflow's records are in a database of the run folder, and the database exists."""
    return not os.environ.get(VARIABLE) and (root / _DATABASE).is_file()


def connect(output: Path) -> Any:
    """Return a client with its own settings; mlflow's global settings are not changed.

    A new database in a run folder is made as a draft, because MLflow cannot use one that it has made in part.

    Raises:
        StoreError: the run folder was moved, and its database cannot follow.
    """
    uri = tracking_uri(output)
    prepare(output)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # they log every table that they create
        logging.getLogger(name).setLevel(logging.WARNING)
    file = database_file(uri)
    if VARIABLE not in os.environ and file is not None and not file.exists():
        with drafted(file) as draft:
            MlflowClient(database_url(draft), database_url(draft)).search_experiments(max_results=1)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def has_own_database(output: Path) -> bool:
    """Return whether MLflow's database is the one in the run folder, so that all its runs are of that folder."""
    if is_remote(output):
        return False
    root = output.resolve()
    file = database_file(tracking_uri(root))
    return file is not None and file.resolve() == root / _DATABASE


def prepare(output: Path) -> None:
    """Write the place of the run folder into its own database, if the folder was moved or copied.

    Raises:
        StoreError: the database cannot be changed.
    """
    if has_own_database(output):
        follow(output.resolve() / _DATABASE, output.resolve())


def open_experiment(client: Any, suite: str, output: Path) -> Any:
    """Return a suite's experiment, MLflow's own object; create the experiment if it does not exist.

    For a database on this machine the client decides where MLflow's files go, so they go to the run folder. A server
    has its own place for them.

    Raises:
        StoreError: MLflow's files go to a run folder that was moved or deleted.
    """
    known = client.get_experiment_by_name(suite)
    if known is not None:
        if known.lifecycle_stage == "deleted":
            client.restore_experiment(known.experiment_id)
        _check_place(known, output)
        return known
    tags = {
        "mlflow.experimentKind": "custom_model_development",  # otherwise the UI asks for the kind
        units_tag(output): UNITS,
    }
    return client.get_experiment(client.create_experiment(suite, artifact_location=_artifacts(output), tags=tags))


def units_tag(output: Path) -> str:
    """Return the experiment's tag that says in which units the runs of a run folder are.

    On a server that several run folders share, the tag names the folder. The folder's own database needs no name, so
    the tag still holds if the folder was moved or another machine uses it.
    """
    return "bench.units" if has_own_database(output) else f"bench.units.{folder_digest(output_name(output))}"


def _check_place(experiment: Any, output: Path) -> None:
    """Refuse to create a run folder again that was moved or deleted, and in which a database keeps MLflow's files."""
    folder = local_folder(experiment.artifact_location)
    if folder is None or folder.name != ARTIFACTS or folder.parent.is_dir() or _artifacts(output) is None:
        return
    link = shlex.join(["ln", "-s", str(output.resolve()), str(folder.parent)])
    raise StoreError(
        f"MLflow keeps the files of {experiment.name} in {folder.parent}, which was moved or deleted. Make a link "
        f"there to the run folder that has the files, such as with {link}, then run bench sync."
    )


def _artifacts(output: Path) -> str | None:
    """Return the address for MLflow's files, or None if a server decides it.

    The files go to the run folder. If the run folder is at a URL, they go next to the database.
    """
    file = database_file(tracking_uri(output))
    if file is None:
        return None
    folder = file.parent if is_remote(output) else output
    return (folder.resolve() / ARTIFACTS).as_uri()


def metric(name: str, value: float, timestamp: int, step: int) -> Any:
    """Return one point of a curve; ``timestamp`` is in milliseconds.

    The @ of a task's variant (task@name) becomes a colon, because MLflow refuses a whole run if a name contains @.
    """
    from mlflow.entities import Metric

    return Metric(name.replace("@", ":"), value, timestamp, step)


def fill_run(client: Any, run: Any, metrics: Sequence[Any], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
    """Write numbers, missing parameters and, in the last request, tags; then delete tags that are out of date.

    MLflow shows the latest of several values, and the highest of those with the same time. So a value that replaces
    another has the current time, and an equal one is not written again.
    """
    from mlflow.entities import Param, RunTag

    key, there, now = run.info.run_id, run.data.metrics, round(1000 * time.time())
    metrics = [
        metric(item.key, item.value, max(now, item.timestamp), 0) if item.step == 0 and item.key in there else item
        for item in metrics
        if item.step != 0 or there.get(item.key) != item.value
    ]
    while len(metrics) > _BATCH:
        client.log_batch(key, metrics[:_BATCH])
        metrics = metrics[_BATCH:]
    missing = [Param(*item) for item in params.items() if item[0] not in run.data.params]
    client.log_batch(key, metrics, missing, [RunTag(*item) for item in tags.items()])
    for stale in run.data.tags.keys() - tags.keys():
        if not stale.startswith("mlflow."):
            client.delete_tag(key, stale)


def unreachable(uri: str, error: Exception) -> str:
    """Return the warning that MLflow cannot be used, or that the disk of its database is full."""
    file = database_file(uri)
    if file is not None and (full := refusal(error, file.parent)):
        return f"MLflow gets no copy. {full.reason}"
    if isinstance(error, BenchError):
        return str(error)
    return f"MLflow is not reachable ({without_password(uri)}: {one_line(error)})."
