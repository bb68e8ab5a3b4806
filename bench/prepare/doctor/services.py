"""Check the services that a run talks to: MLflow, the storage of searches, and Ray."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from bench.errors import UsageError, without_password
from bench.lanes.scratch import make_scratch
from bench.prepare.doctor.child import LATE, ask
from bench.prepare.doctor.diagnosis import Diagnosis, reason, words
from bench.store import places
from bench.store.databases import database_file, database_url
from bench.track.client import VARIABLE, tracking_uri

_REACH_SECONDS = 5.0
_UNREACHABLE = (OSError, ValueError, sqlite3.Error)
_PORTS = {"postgresql": 5432, "mysql": 3306, "redis": 6379, "ray": 10001}
_CLUSTER = Path("/tmp/ray/ray_current_cluster")  # the file in which ``ray start`` writes its address


def check(output: str, storage: str | None, address: str | None, ray_seconds: float | None) -> Iterator[Diagnosis]:
    """Check the services; Ray is started or joined only if ``ray_seconds`` is given."""
    yield mlflow(output)
    yield optuna(output, storage)
    yield ray(address, ray_seconds)
    if address:
        yield token(*_token())


def mlflow(output: str) -> Diagnosis:
    """Check MLflow, which mirrors every run."""
    fix = f"start it or set {VARIABLE}; runs also work without it, and bench sync updates it later"
    try:
        return service("mlflow", tracking_uri(places.place(output)), fix)
    except UsageError as error:  # its message already says what to do
        return Diagnosis("FAIL", "mlflow", words(str(error)))


def optuna(output: str, storage: str | None) -> Diagnosis:
    """Check the storage of searches."""
    if storage is None:
        if "://" in output and not output.startswith("file://"):
            text = "none: a run folder at a URL cannot hold a database, so a search needs --storage"
            return Diagnosis("ok", "optuna", text)
        storage = database_url(places.place(output).absolute() / "search.db")
    fix = "start its server, or give another one with --storage; if the file is damaged, delete it: trials are kept"
    return service("optuna", storage, fix)


def service(subject: str, uri: str, fix: str) -> Diagnosis:
    """Check a service: whether its server answers, or its database file is readable."""
    name = without_password(uri)
    try:
        return Diagnosis("ok", subject, f"{name}: {reach(uri)}")
    except _UNREACHABLE as error:
        return Diagnosis("FAIL", subject, f"{name}: {words(reason(error))}", fix)


def reach(uri: str) -> str:
    """Return what the service at an address says of itself.

    Raises:
        OSError: its server does not answer.
        ValueError: its server refuses access, or the address is not valid.
        sqlite3.Error: its database file is locked or damaged.
    """
    if (file := database_file(uri)) is not None:
        return _database(file)
    parts = urlsplit(uri)
    if parts.scheme in {"http", "https"}:
        return _version(uri)
    if not parts.hostname:
        return "not checked"
    port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    if port is None:
        raise ValueError("the address has no port")
    socket.create_connection((parts.hostname, port), timeout=_REACH_SECONDS).close()
    return "it accepts connections"


def _database(file: Path) -> str:
    """Return what a database file holds. Nothing is written."""
    if not file.is_file():
        return "created at first use"
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=_REACH_SECONDS)) as database:
        count = database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
    return f"a database of {count} tables"


def _version(uri: str) -> str:
    """Return the version of an MLflow server."""
    try:
        with urlopen(f"{uri.rstrip('/')}/version", timeout=_REACH_SECONDS) as answer:
            return f"MLflow {answer.read(100).decode(errors='replace').strip()}"
    except HTTPError as error:
        if error.code in {401, 403}:
            raise ValueError(f"it refuses access without credentials ({error.code})") from error
        raise


def ray(address: str | None, seconds: float | None) -> Diagnosis:
    """Check Ray: whether a cluster exists and, if ``seconds`` is given, whether it runs a function in that time."""
    place = _cluster(address)
    own = without_password(place or address or "") or "a private Ray on this machine"
    try:
        if address and not place:
            raise ValueError("no cluster runs on this machine, and RAY_ADDRESS is not set")
        if place:
            reach(place if "://" in place else f"tcp://{place}")
    except _UNREACHABLE as error:
        fix = "start one with ray start --head, or leave --address out: bench then starts its own"
        return Diagnosis("FAIL", "ray", f"{own} cannot be reached: {words(reason(error))}", fix)
    if seconds is not None:
        return _started(own, place, seconds)
    if place:
        return Diagnosis("ok", "ray", f"{own} accepts connections; --ray also joins it")
    return Diagnosis("ok", "ray", f"{own}, not started; --ray tries to start it")


def _started(own: str, place: str, seconds: float) -> Diagnosis:
    try:
        scratch = make_scratch()
    except UsageError as error:
        return Diagnosis("FAIL", "ray", words(str(error)))
    try:
        answer = ask("ray", str(scratch), *([place] if place else []), seconds=seconds)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if said := answer.first:
        return Diagnosis("ok", "ray", f"{own} ran a function after {said['seconds']:g} s, {said['nodes']} nodes")
    slow = answer.error.startswith(LATE)
    fix = "give it more time with --ray SECONDS" if slow else "use bench run --lanes 0, which does not need Ray"
    return Diagnosis("FAIL", "ray", f"{own} did not start: {words(answer.error)}", fix)


def _cluster(address: str | None) -> str:
    """Return a cluster's host and port; ``auto`` means RAY_ADDRESS, or the cluster on this machine."""
    if address != "auto":
        return address or ""
    with suppress(OSError):
        return os.environ.get("RAY_ADDRESS") or _CLUSTER.read_text(encoding="utf-8").strip()
    return ""


def _token() -> tuple[str, bool]:
    """Return the source of Ray's token, or "", and whether other users can read the token's file."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN", False
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not file.is_file() or not file.stat().st_size:
        return "", False
    return str(file), bool(file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def token(source: str, exposed: bool) -> Diagnosis:
    """Judge the token that a cluster asks for; a private Ray creates its own."""
    if not source:
        fix = "copy the head's ~/.ray/auth_token here, or set RAY_AUTH_TOKEN_PATH"
        return Diagnosis("warn", "ray token", "none, but a cluster asks for one unless it is configured not to", fix)
    if exposed:
        return Diagnosis("warn", "ray token", f"other users can read {source}", f"run chmod 600 {source}")
    return Diagnosis("ok", "ray token", source)
