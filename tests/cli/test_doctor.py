"""The command that prints what works and what to fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli import doctor
from bench.cli.main import main
from bench.prepare.doctor.diagnosis import Diagnosis


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warn", 0), ("FAIL", 1)])
def test_the_exit_code_is_1_if_something_failed(
    level: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Diagnosis(level, "disk", "full", "empty it")  # type: ignore[arg-type]
    monkeypatch.setattr(doctor, "_diagnoses", lambda options, suite, tasks: [found])

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
