"""The services that a run talks to: MLflow, the storage of searches, and Ray."""

from __future__ import annotations

import os
import socket
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import HTTPError
from urllib.parse import SplitResult, urlsplit
from urllib.request import Request, urlopen

from bench.errors import UsageError, without_password
from bench.prepare.doctor.child import LATE, ask
from bench.prepare.doctor.finding import Diagnosis, reason, words
from bench.store import places
from bench.track.client import VARIABLE, tracking_uri

_REACH_SECONDS = 5.0
_PORTS = {"postgresql": 5432, "mysql": 3306, "redis": 6379, "http": 80, "https": 443, "ray": 10001}
_CLUSTER = Path("/tmp/ray/ray_current_cluster")  # the file in which ``ray start`` writes its address


@dataclass(frozen=True, slots=True)
class Service:
    """A service: its address, its description of itself, and the reason why it cannot be used, or ""."""

    address: str
    says: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Ray:
    """Ray's state; ``address`` is that of a cluster, or "" for a private Ray on this machine.

    ``token`` names the source of the token that authenticates calls; ``exposed`` is True if other users can read the
    token's file. ``seconds`` is how long a start took, None if no start was tried.
    """

    address: str = ""
    trouble: str = ""
    token: str = ""
    exposed: bool = False
    tried: bool = False
    seconds: float | None = None
    nodes: int = 0


@dataclass(frozen=True, slots=True)
class Services:
    """The services that a run talks to."""

    mlflow: Service
    storage: Service
    ray: Ray


def look(output: str, storage: str | None, address: str | None, ray_seconds: float | None) -> Services:
    """Return the state of the services; Ray is started or joined only if ``ray_seconds`` is given."""
    try:
        mlflow = reach(tracking_uri(places.place(output)))
    except UsageError as error:  # its message already says what to do
        mlflow = Service("", trouble=str(error))
    return Services(mlflow, _storage(output, storage), _ray(address, ray_seconds))


def _storage(output: str, storage: str | None) -> Service:
    if storage is not None:
        return reach(storage)
    if "://" in output and not output.startswith("file://"):
        return Service("none", "a run folder at a URL cannot hold a database, so a search needs --storage")
    return reach(f"sqlite:///{places.place(output).absolute()}/search.db")


def reach(uri: str) -> Service:
    """Return the service at an address: whether its server answers, or its database file is readable."""
    parts = urlsplit(uri)
    name = without_password(uri)
    try:
        if parts.scheme.startswith("sqlite"):
            return Service(name, _database(Path(uri.partition(":///")[2])))
        if parts.scheme in {"http", "https"}:
            return Service(name, _version(uri))
        if parts.hostname:
            _connect(parts)
            return Service(name, "it accepts connections")
    except (OSError, ValueError, sqlite3.Error) as error:
        return Service(name, trouble=reason(error))
    return Service(name, "not checked")


def _database(file: Path) -> str:
    """Return what a database file holds. Nothing is written.

    Raises:
        sqlite3.Error: the file is locked or damaged.
    """
    if not file.is_file():
        return "created at first use"
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=_REACH_SECONDS)) as database:
        count = database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
    return f"a database of {count} tables"


def _version(uri: str) -> str:
    """Return the version of an MLflow server."""
    if not uri.startswith(("http://", "https://")):
        raise ValueError(f"{uri} is not a web address")
    try:
        request = Request(f"{uri.rstrip('/')}/version")
        with urlopen(request, timeout=_REACH_SECONDS) as answer:
            return f"MLflow {answer.read(100).decode(errors='replace').strip()}"
    except HTTPError as error:
        if error.code in {401, 403}:
            raise ValueError(f"it refuses access without credentials ({error.code})") from error
        raise


def _connect(parts: SplitResult) -> None:
    port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    if port is None:
        raise ValueError("the address has no port")
    socket.create_connection((str(parts.hostname), port), timeout=_REACH_SECONDS).close()


def _ray(address: str | None, seconds: float | None) -> Ray:
    place = _cluster(address)
    token, exposed = _token() if address else ("", False)
    trouble = reach(place if "://" in place else f"tcp://{place}").trouble if place else ""
    if address and not place:
        trouble = "no cluster runs on this machine, and RAY_ADDRESS is not set"
    if trouble or seconds is None:
        return Ray(without_password(place or address or ""), trouble, token, exposed)
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as scratch:
        answer = ask("ray", scratch, *([place] if address else []), seconds=seconds)
    said = next(iter(answer.said), {})
    took, nodes = said.get("seconds"), int(said.get("nodes", 0))
    return Ray(without_password(place), "" if said else answer.error, token, exposed, True, took, nodes)


def _cluster(address: str | None) -> str:
    """Return a cluster's host and port; ``auto`` means RAY_ADDRESS, or the cluster on this machine."""
    if address != "auto":
        return address or ""
    with suppress(OSError):
        return os.environ.get("RAY_ADDRESS") or _CLUSTER.read_text().strip()
    return ""


def _token() -> tuple[str, bool]:
    """Return the source of Ray's token, or "", and whether other users can read the token's file."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN", False
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not file.is_file() or not file.stat().st_size:
        return "", False
    return str(file), bool(file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def mlflow(facts: Services) -> Iterator[Diagnosis]:
    """Judge MLflow, which mirrors every run."""
    found = facts.mlflow
    if found.trouble:
        fix = f"start it or set {VARIABLE}; runs also work without it, and bench sync updates it later"
        fix = fix if found.address else ""
        yield Diagnosis("FAIL", "mlflow", f"{found.address}: {words(found.trouble)}".removeprefix(": "), fix)
    else:
        yield Diagnosis("ok", "mlflow", f"{found.address}: {found.says}")


def storage(facts: Services) -> Iterator[Diagnosis]:
    """Judge the storage of searches."""
    found = facts.storage
    if found.trouble:
        fix = "start its server, or give another one with --storage; if the file is damaged, delete it: trials are kept"
        yield Diagnosis("FAIL", "optuna", f"{found.address}: {words(found.trouble)}", fix)
    else:
        yield Diagnosis("ok", "optuna", f"{found.address}: {found.says}")


def ray(facts: Services) -> Iterator[Diagnosis]:
    """Judge Ray: whether a cluster exists, grants access, and runs a function."""
    found = facts.ray
    own = found.address or "a private Ray on this machine"
    if found.trouble and found.tried:
        slow = found.trouble.startswith(LATE)
        fix = "give it more time with --ray SECONDS" if slow else "use bench run --lanes 0, which does not need Ray"
        yield Diagnosis("FAIL", "ray", f"{own} did not start: {words(found.trouble)}", fix)
    elif found.trouble:
        fix = "start one with ray start --head, or leave --address out: bench then starts its own"
        yield Diagnosis("FAIL", "ray", f"{own} cannot be reached: {words(found.trouble)}", fix)
    elif found.seconds is not None:
        yield Diagnosis("ok", "ray", f"{own} ran a function after {found.seconds:g} s, {found.nodes} nodes")
    elif found.address:
        yield Diagnosis("ok", "ray", f"{own} accepts connections; --ray also joins it")
    else:
        yield Diagnosis("ok", "ray", f"{own}, not started; --ray tries to start it")


def token(facts: Services) -> Iterator[Diagnosis]:
    """Judge the token that a cluster asks for; a private Ray creates its own."""
    found = facts.ray
    if not found.address:
        return
    if not found.token:
        fix = "copy the head's ~/.ray/auth_token here, or set RAY_AUTH_TOKEN_PATH"
        yield Diagnosis("warn", "ray token", "none, but a cluster asks for one unless it is configured not to", fix)
    elif found.exposed:
        yield Diagnosis("warn", "ray token", f"other users can read {found.token}", f"run chmod 600 {found.token}")
    else:
        yield Diagnosis("ok", "ray token", found.token)


CHECKS = (mlflow, storage, ray, token)
