"""Plugin code that would end the command is a fault with its line wherever it is called, and Ctrl-C is not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.plan.suite import Suite
from bench.plugins.registry import Registry, Report

pytestmark = pytest.mark.usefixtures("one_mlflow")

METHOD = """
import os, signal, sys
from dataclasses import dataclass
from typing import ClassVar
from bench import EditMethod
from bench.checks.tiny import Squares
from bench.methods.lora import LoRA

class Old(Squares):
    name: ClassVar[str] = "old_squares"
    def examples(self, split):
        {examples}
        return super().examples(split)
    def score(self, examples, predictions):
        {score}
        return super().score(examples, predictions)

class New(Squares):
    name: ClassVar[str] = "new_squares"

@dataclass(kw_only=True)
class Mine(LoRA):
    name: ClassVar[str] = "mine"
    def __post_init__(self):
        {built}
    def on_update(self, step):
        {update}

@dataclass(kw_only=True)
class Edits(EditMethod):
    name: ClassVar[str] = "edits"
    paper: ClassVar[str] = "none"
    def edit(self, change, context):
        {edit}
        return change
{file}
"""
PLACES = ("examples", "score", "built", "update", "edit", "file")

Run = Callable[..., tuple[int, str]]


def written(folder: Path, **code: str) -> Path:
    (path := folder / "mine.py").write_text(
        METHOD.format(**{place: code.get(place, "pass") for place in PLACES}), encoding="utf-8"
    )
    return path


def words(plugin: Path, output: Path, methods: str = "mine,edits") -> Sequence[str]:
    cells = ["--suite", "tiny", "--plugin", str(plugin), "--methods", methods, "--ranks", "2"]
    return ["run", *cells, "--lanes", "0", "--output", str(output)]


@pytest.fixture
def run(tiny_suite: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return ``run(**code)``: the exit code and standard error of a run whose plugins have this code somewhere."""

    def ran(methods: str = "mine,edits", **code: str) -> tuple[int, str]:
        status = main(words(written(tmp_path, **code), tmp_path / "runs", methods))
        return status, capsys.readouterr().err

    return ran


@pytest.mark.slow
@pytest.mark.parametrize("code", ["sys.exit(0)", "os._exit(0)", "raise KeyboardInterrupt"])
@pytest.mark.parametrize(("place", "hook"), [("update", "on_update"), ("edit", "edit"), ("score", "score")])
def test_a_hook_that_would_end_the_command_fails_its_trial(run: Run, place: str, hook: str, code: str) -> None:
    status, said = run(**{place: code})

    assert status == 1
    assert f" in {hook}: it " in said
    assert "would end the command" in said


@pytest.mark.parametrize(
    ("place", "where"), [("file", r"mine.py:"), ("examples", "in examples"), ("built", "in __post_init__")]
)
def test_code_that_would_end_the_command_before_any_trial_is_one_line(run: Run, place: str, where: str) -> None:
    status, said = run(**{place: "raise SystemExit"})

    assert status == 2
    assert where in said
    assert "it raises SystemExit, which would end the command" in said


@pytest.mark.slow
def test_a_report_that_would_end_the_command_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(board: object, path: Path) -> Path:
        raise SystemExit

    made = Report("mine", write, pytest)  # type: ignore[arg-type]  # any module without a SUFFIX
    monkeypatch.setattr(Registry, "report", lambda registry, name: made)

    status, said = run("lora")

    assert status == 2
    assert "in write: it raises SystemExit" in said


@pytest.mark.slow
def test_ctrl_c_in_a_hook_interrupts_the_command(tiny_command: list[str], tmp_path: Path) -> None:
    plugin = written(tmp_path, update="os.kill(os.getpid(), signal.SIGINT)")

    done = subprocess.run(
        [*tiny_command, *words(plugin, tmp_path / "runs")], capture_output=True, encoding="utf-8", check=False
    )

    assert done.returncode == 130, done.stderr
    assert "interrupted" in done.stderr
