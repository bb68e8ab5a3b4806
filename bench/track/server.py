"""Serve MLflow's own pages on this machine from the run folder."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO
from urllib.parse import urlsplit

from bench.errors import StoreError, UsageError, without_password
from bench.store.databases import database_file
from bench.track.client import SETTINGS, VARIABLE, prepare, tracking_uri
from bench.track.moved import ARTIFACTS
from bench.track.views import names_in

log = logging.getLogger(__name__)


def ui(
    output: Path,
    port: int,
    say: Callable[[str], None] = log.warning,
    browse: Callable[[str], object] | None = None,
) -> int:
    """Serve MLflow on this machine until Ctrl-C; ``say`` prints the addresses, and ``browse`` opens the first view.

    Raises:
        UsageError: the run folder has nothing to serve, or the port is in use.
        StoreError: the server does not start, or ends by itself.
    """
    uri = tracking_uri(output)
    if urlsplit(uri).scheme in {"http", "https", "databricks"}:
        raise UsageError(f"{VARIABLE} names a server that already runs. Open {without_password(uri)}.")
    file = database_file(uri)
    if file is not None and not file.is_file():
        raise UsageError(f"{output} has nothing for MLflow to show yet. Run bench run or bench sync first.")
    _check_free(port)
    try:
        prepare(output)
    except StoreError as error:  # MLflow shows all that is in the database, without its files
        say(str(error))
    before = {each: signal.signal(each, signal.default_int_handler) for each in (signal.SIGTERM, signal.SIGHUP)}
    with TemporaryFile() as noise:
        server = _start(uri, output, port, noise)
        try:
            _wait_until_ready(server, port, noise)
            _show(port, say, browse)
            server.wait()
            raise StoreError(f"MLflow's server ended: {_last_words(noise)}")
        except KeyboardInterrupt:
            return 0
        finally:
            _end_server(server)
            for each, handler in before.items():
                signal.signal(each, handler)


def _show(port: int, say: Callable[[str], None], browse: Callable[[str], object] | None) -> None:
    """Print the addresses of the server and of its views, and open the first view."""
    say(f"MLflow is at http://127.0.0.1:{port} (Ctrl-C ends it)")
    addresses = list(_addresses(port))
    for name, address in addresses:
        say(f"{name}: {address}")
    if browse is not None and addresses:
        browse(addresses[0][1])


def _check_free(port: int) -> None:
    try:
        with socket.create_server(("127.0.0.1", port)):
            pass
    except (OSError, OverflowError) as error:
        raise UsageError(f"Port {port} cannot be used ({error}). Choose another with --port.") from error


def _start(uri: str, output: Path, port: int, noise: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start MLflow's server, which writes all that it prints to ``noise``."""
    return subprocess.Popen(
        _server_command(uri, output, port),
        env={**os.environ, **SETTINGS, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=noise,
        stderr=noise,
        start_new_session=True,  # Ctrl-C must reach only this process, which ends the server and its workers
    )


def _server_command(uri: str, output: Path, port: int) -> list[str]:
    options = {
        "--backend-store-uri": uri,
        "--artifacts-destination": (output.resolve() / ARTIFACTS).as_uri(),
        "--host": "127.0.0.1",
        "--port": str(port),
        "--allowed-hosts": "localhost:*,127.0.0.1:*",
        "--workers": "1",
    }
    words = [word for option in options.items() for word in option]
    return [sys.executable, "-m", "mlflow", "server", *words]


def _wait_until_ready(server: subprocess.Popen[bytes], port: int, noise: IO[bytes]) -> None:
    """Wait until the server answers.

    Raises:
        StoreError: the server ended first; the message quotes its last line.
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
    return without_password(lines[-1])


def _addresses(port: int) -> Iterator[tuple[str, str]]:
    """Yield the name and the address of each saved view of every suite's experiment.

    Without ``workflowType``, MLflow opens its pages for language models, which have nothing to show.
    """
    answer = _request(port, "POST", "/api/2.0/mlflow/experiments/search", {"max_results": 100})
    for item in json.loads(answer).get("experiments", ()):
        names = names_in({tag["key"]: tag["value"] for tag in item.get("tags", ())})
        for key, name in names.items():
            words = f"viewStateShareKey={key}&workflowType=machine_learning"
            place = f"http://127.0.0.1:{port}/#/experiments/{item['experiment_id']}/runs?{words}"
            yield f"{item['name']}, {name}", place


def _request(port: int, verb: str, path: str, body: Mapping[str, object] | None = None) -> bytes:
    """Ask the server on this machine directly, without any proxy."""
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
