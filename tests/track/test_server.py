"""MLflow's own pages, served on this machine."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection

import pytest

from bench.errors import UsageError
from bench.plugins.registry import Registry
from bench.store.run_folder import Store
from bench.track import sync, ui
from tests.making.waiting import PATIENCE_SECONDS


def test_the_server_is_refused_where_it_cannot_work(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="Run bench run or bench sync first"):
        ui(store.root / "elsewhere", 0)

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="--port"):
        ui(store.root, taken.getsockname()[1])

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host")
    with pytest.raises(UsageError, match="Open http://host"):
        ui(store.root, 0)


@pytest.mark.slow
def test_the_server_names_the_leaderboard_view_and_ends_on_ctrl_c(store: Store) -> None:
    sync(store, Registry())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = (
        "import sys; from functools import partial; from pathlib import Path; from bench.track import ui; "
        f"sys.exit(ui(Path({str(store.root)!r}), {port}, partial(print, flush=True)))"
    )
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, encoding="utf-8")
    assert server.stdout is not None

    first, *views = (server.stdout.readline() for _ in range(4))
    server.send_signal(signal.SIGINT)
    rest, _ = server.communicate(timeout=PATIENCE_SECONDS)

    assert f"http://127.0.0.1:{port} " in first
    place = f"http://127.0.0.1:{port}/#/experiments/1/runs?viewStateShareKey="
    assert views == [
        f"small, new: {place}bench.target.new&workflowType=machine_learning\n",
        f"small, Commands: {place}bench.commands&workflowType=machine_learning\n",
        f"small, All trials: {place}bench.trials&workflowType=machine_learning\n",
    ]
    assert (rest, server.returncode) == ("", 0)
    with pytest.raises(ConnectionRefusedError):
        HTTPConnection("127.0.0.1", port, timeout=60).request("GET", "/health")
