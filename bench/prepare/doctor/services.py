"""What a run talks to: MLflow, the storage of searches, and Ray."""

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
from bench.prepare.doctor.finding import Finding, reason, words
from bench.store import places
from bench.track.client import VARIABLE, tracking_uri

_REACH_SECONDS = 5.0
_PORTS = {"postgresql": 5432, "mysql": 3306, "redis": 6379, "http": 80, "https": 443, "ray": 10001}
_CLUSTER = Path("/tmp/ray/ray_current_cluster")  # where ``ray start`` notes its address


@dataclass(frozen=True, slots=True)
class Service:
    """A service by its address, with what it says of itself, and why it cannot be used, or ""."""

    address: str
    says: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Ray:
    """``address`` is that of a cluster, "" for a Ray of this machine's own; ``token`` is how calls are let in.

    ``exposed`` is a token file that others can read. ``seconds`` is how long a start took, None where none was tried.
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
    """What a run talks to."""

    mlflow: Service
    storage: Service
    ray: Ray


def look(output: str, storage: str | None, address: str | None, ray_seconds: float | None) -> Services:
    """Return how the services stand; a Ray is started, or joined, only where it is given some seconds for it."""
    try:
        mlflow = reach(tracking_uri(places.place(output)))
    except UsageError as error:  # it says itself what to do
        mlflow = Service("", trouble=str(error))
    return Services(mlflow, _storage(output, storage), _ray(address, ray_seconds))


def _storage(output: str, storage: str | None) -> Service:
    if storage is not None:
        return reach(storage)
    if "://" in output and not output.startswith("file://"):
        return Service("none", "no database can lie in a run folder at a URL, so a search needs --storage")
    return reach(f"sqlite:///{places.place(output).absolute()}/search.db")


def reach(uri: str) -> Service:
    """Return whether a server answers, or a database file can be read, within a few seconds."""
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
    return Service(name, "not looked at")


def _database(file: Path) -> str:
    """Return what a database file holds. Nothing is written.

    Raises:
        sqlite3.Error: it is locked, or damaged.
    """
    if not file.is_file():
        return "made when first used"
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=_REACH_SECONDS)) as database:
        count = database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
    return f"a database of {count} tables"


def _version(uri: str) -> str:
    """Return the version of an MLflow server."""
    if not uri.startswith(("http://", "https://")):
        raise ValueError(f"{uri} is no web address")
    try:
        request = Request(f"{uri.rstrip('/')}/version")
        with urlopen(request, timeout=_REACH_SECONDS) as answer:
            return f"MLflow {answer.read(100).decode(errors='replace').strip()}"
    except HTTPError as error:
        if error.code in {401, 403}:
            raise ValueError(f"it lets nobody in without credentials ({error.code})") from error
        raise


def _connect(parts: SplitResult) -> None:
    port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    if port is None:
        raise ValueError("the address names no port")
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
    """Return host and port of a cluster; ``auto`` is the one of RAY_ADDRESS, or that runs on this machine."""
    if address != "auto":
        return address or ""
    with suppress(OSError):
        return os.environ.get("RAY_ADDRESS") or _CLUSTER.read_text().strip()
    return ""


def _token() -> tuple[str, bool]:
    """Return where Ray's token comes from, "" where there is none, and whether others can read its file."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN", False
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not file.is_file() or not file.stat().st_size:
        return "", False
    return str(file), bool(file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def mlflow(facts: Services) -> Iterator[Finding]:
    """Judge MLflow, which mirrors every run."""
    found = facts.mlflow
    if found.trouble:
        fix = f"start it or set {VARIABLE}; runs go on without, and bench sync brings it up to date"
        fix = fix if found.address else ""
        yield Finding("FAIL", "mlflow", f"{found.address}: {words(found.trouble)}".removeprefix(": "), fix)
    else:
        yield Finding("ok", "mlflow", f"{found.address}: {found.says}")


def storage(facts: Services) -> Iterator[Finding]:
    """Judge where searches are kept."""
    found = facts.storage
    if found.trouble:
        fix = "start its server, or name another with --storage; a damaged file may be deleted, its trials are kept"
        yield Finding("FAIL", "optuna", f"{found.address}: {words(found.trouble)}", fix)
    else:
        yield Finding("ok", "optuna", f"{found.address}: {found.says}")


def ray(facts: Services) -> Iterator[Finding]:
    """Judge Ray: that a cluster is there, lets one in, and runs a function."""
    found = facts.ray
    own = found.address or "a Ray of this machine's own"
    if found.trouble and found.tried:
        slow = found.trouble.startswith(LATE)
        fix = "give it more with --ray SECONDS" if slow else "bench run --lanes 0 does without Ray"
        yield Finding("FAIL", "ray", f"{own} did not start: {words(found.trouble)}", fix)
    elif found.trouble:
        fix = "ray start --head starts one; without --address bench starts its own"
        yield Finding("FAIL", "ray", f"{own} cannot be reached: {words(found.trouble)}", fix)
    elif found.seconds is not None:
        yield Finding("ok", "ray", f"{own} ran a function after {found.seconds:g} s, {found.nodes} nodes")
    elif found.address:
        yield Finding("ok", "ray", f"{own} accepts connections; --ray joins it")
    else:
        yield Finding("ok", "ray", f"{own}, not started; --ray tries")


def token(facts: Services) -> Iterator[Finding]:
    """Judge the token that lets one into a cluster; a Ray of this machine's own makes one itself."""
    found = facts.ray
    if not found.address:
        return
    if not found.token:
        fix = "copy the head's ~/.ray/auth_token here, or set RAY_AUTH_TOKEN_PATH"
        yield Finding("warn", "ray token", "none, and a cluster asks for one unless it is told not to", fix)
    elif found.exposed:
        yield Finding("warn", "ray token", f"others can read {found.token}", f"chmod 600 {found.token}")
    else:
        yield Finding("ok", "ray token", found.token)


CHECKS = (mlflow, storage, ray, token)
