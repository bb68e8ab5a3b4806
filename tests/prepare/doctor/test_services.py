"""What is said of MLflow, of the storage of searches, and of Ray."""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typing_extensions import override

from bench.prepare.doctor import services
from bench.prepare.doctor.child import Reply
from bench.prepare.doctor.services import reach
from tests.prepare.doctor.diagnoses import assert_says


def test_a_database_is_read_and_a_damaged_one_named(tmp_path: Path) -> None:
    assert reach(f"sqlite:///{tmp_path}/none.db") == "created at first use"
    with sqlite3.connect(tmp_path / "search.db") as database:
        database.execute("CREATE TABLE studies (id)")
    database.close()
    assert reach(f"sqlite:///{tmp_path}/search.db") == "a database of 1 tables"
    (tmp_path / "bad.db").write_text("no database at all, whatever its name says", encoding="utf-8")
    bad = services.optuna("runs", f"sqlite:///{tmp_path}/bad.db")
    assert_says(bad, "FAIL", r"bad\.db: file is not a database.*--storage")


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/version" else 401)
        self.end_headers()
        self.wfile.write(b"3.17.2")

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Server) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_an_mlflow_server_says_its_version_or_asks_for_credentials(server: str) -> None:
    assert reach(f"http://{server}") == "MLflow 3.17.2"
    with pytest.raises(ValueError, match=r"it refuses access without credentials \(401\)"):
        reach(f"http://{server}/closed")


def test_a_server_that_is_not_there_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # bound, and nobody listens
        found = services.optuna("runs", f"postgresql://me:secret@127.0.0.1:{port}/optuna")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        mlflow = services.mlflow("runs")
        ray = services.ray(f"127.0.0.1:{port}", None)

    assert_says(found, "FAIL", rf"optuna +postgresql://127\.0\.0\.1:{port}/optuna: Connection refused\. Fix: start its")
    assert_says(mlflow, "FAIL", rf"http://127\.0\.0\.1:{port}: Connection refused.*MLFLOW_TRACKING_URI; runs also work")
    assert_says(ray, "FAIL", rf"127\.0\.0\.1:{port} cannot be reached: Connection refused.*ray start --head")


def test_an_address_that_is_not_valid_is_named() -> None:
    assert_says(services.optuna("runs", "http://[1"), "FAIL", r"http://\[1: Invalid IPv6 URL")
    assert_says(services.optuna("runs", "tcp://host"), "FAIL", r"the address has no port")


def test_a_cluster_is_found_by_its_variable_and_its_token_is_named(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("0123", encoding="utf-8")
    token.chmod(0o644)
    monkeypatch.setenv("RAY_ADDRESS", server)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)

    assert_says(services.ray("auto", None), "ok", rf"{server} accepts connections; --ray also joins it$")
    assert services._token() == (str(token), True)

    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setattr(services, "_CLUSTER", tmp_path / "none")
    token.unlink()
    assert_says(services.ray("auto", None), "FAIL", r"auto cannot be reached: no cluster runs on this machine")
    assert services._token() == ("", False)


def test_a_token_that_is_missing_or_that_others_can_read_is_a_warning() -> None:
    assert_says(services.token("", False), "warn", r"none, but a cluster asks.*auth_token")
    assert_says(services.token("/home/me/.ray/auth_token", True), "warn", r"other users can read.*chmod 600 /home/me")
    assert_says(services.token("/home/me/.ray/auth_token", False), "ok", r"/home/me/\.ray/auth_token$")


@pytest.mark.parametrize(
    ("reply", "level", "said"),
    [
        (Reply(({"seconds": 4.5, "nodes": 2},)), "ok", r"a private Ray.* ran a function after 4\.5 s, 2 nodes$"),
        (Reply((), "no answer in 60 s"), "FAIL", r"did not start: no answer.*--ray SECONDS"),
        (Reply((), "ConnectionError: x"), "FAIL", r"did not start: ConnectionError.*--lanes 0"),
    ],
)
def test_a_ray_that_was_tried_says_how_it_went(
    reply: Reply, level: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "ask", lambda *words, seconds: reply)

    assert_says(services.ray(None, 60.0), level, said)


def test_a_ray_of_this_machines_own_is_asked_for_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    found = list(services.check(str(tmp_path), None, None, None))

    assert [(each.subject, each.level) for each in found] == [("mlflow", "ok"), ("optuna", "ok"), ("ray", "ok")]
    assert str(found[0]).endswith("/mlflow.db: created at first use")
    assert str(found[2]).endswith("a private Ray on this machine, not started; --ray tries to start it")


def test_a_run_folder_at_a_url_has_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    mlflow = services.mlflow("memory://runs")

    assert "needs --storage" in services.optuna("memory://runs", None).text
    assert "sqlite:////runs/search.db" in services.optuna("file:///runs", None).text
    assert_says(mlflow, "FAIL", r"memory://runs.*Set MLFLOW_TRACKING_URI")
    assert "runs also work without it" not in str(mlflow)  # such a run is refused


@pytest.mark.ray
def test_a_ray_of_this_machines_own_starts_in_time_or_is_said_not_to() -> None:
    assert_says(services.ray(None, 1.0), "FAIL", r"did not start: no answer in 1 s")
    assert_says(services.ray(None, 120.0), "ok", r"ran a function after \d+(\.\d)? s, 1 nodes$")
