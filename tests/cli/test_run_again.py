"""A finished run that is asked for again: its tables are printed, and nothing is planned or written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli import run as run_command
from bench.cli import run_again
from bench.cli.main import main
from bench.cli.options import Cells
from bench.cli.request import read_request
from bench.plan.baselines import make
from bench.store.run_folder import Store
from bench.values.trial import Trial
from tests.page.conftest import write_records

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_mlflow")]

CELLS: dict[str, Any] = {"methods": "lora,dare", "ranks": "2", "targets": "icon_choice", "limit": "3"}
SAID = "2 cells; cached: 3 of 3 trials. Nothing has changed since the reports were written"


def row(trial: Trial, task: str, name: str, place: int) -> dict[str, Any]:
    score = float(place % 2 or trial.method == "lora")
    answer = {"id": name, "question": "q?", "answers": ["a"], "prediction": "ab"[score == 0]}
    return {**answer, "scores": {"exact": score, "lenient": score}}


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The words of a run whose records are there, and which has written its reports once."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("bench.cli.remembered.of_installed", lambda: "code")  # None if a file was just edited
    monkeypatch.setattr(run_again, "database_is_here", lambda root: not (root / "unmirrored").exists())
    output = tmp_path / "runs"
    (store := Store(output)).prepare()
    write_records(make(read_request(Cells(**CELLS), output), store), store, row)
    said = ["run", *(word for name, value in CELLS.items() for word in (f"--{name}", value)), "--lanes", "0"]
    said += ["--output", str(output)]
    assert main(said) == 0
    assert "cached: 3 of 3 trials" in capsys.readouterr().err
    return said


def test_nothing_is_planned_and_the_same_tables_are_printed(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = Path(words[-1])
    assert main(["leaderboard", "--output", words[-1]]) == 0
    table = capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    monkeypatch.setattr(run_command, "carry_out", lambda *_: pytest.fail("it was planned"))

    assert main(words) == 0

    printed = capsys.readouterr()
    assert printed.out == table
    assert SAID in printed.err
    assert "index.html in a browser." in printed.err
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()} == before


def _without_a_report(output: Path) -> None:
    next(output.glob("reports/*/leaderboard.csv")).unlink()


def _with_another_record(output: Path) -> None:
    path = next(output.glob("lora-*/record.json"))
    record = json.loads(path.read_text(encoding="utf-8"))
    record["cost"]["train_seconds"] += 1
    path.write_text(json.dumps(record), encoding="utf-8")


def _without_mlflow(output: Path) -> None:
    (output / "unmirrored").touch()


def _with_a_later_run(output: Path) -> None:
    (output / "reports" / "latest.json").write_text('{"run": "another", "reports": "x"}', encoding="utf-8")


def _with_another_page(output: Path) -> None:
    assert main(["report", "--run", "micro", "--sort", "lost", "--output", str(output)]) == 0


@pytest.mark.parametrize(
    "change", [_without_a_report, _with_another_record, _without_mlflow, _with_a_later_run, _with_another_page]
)
def test_a_run_whose_results_have_changed_writes_its_reports_again(
    change: Callable[[Path], None], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    change(Path(words[-1]))

    assert main(words) == 0

    assert SAID not in capsys.readouterr().err
    assert next(Path(words[-1]).glob("reports/*/leaderboard.csv")).is_file()
    (Path(words[-1]) / "unmirrored").unlink(missing_ok=True)
    assert main(words) == 0
    assert SAID in capsys.readouterr().err, "now it is current"


def test_reports_of_which_one_could_not_be_written_are_written_again(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> Path:
        raise ValueError("no columns")

    _without_a_report(Path(words[-1]))
    with monkeypatch.context() as patch:
        patch.setattr(run_command, "write_scores", refuse)
        assert main(words) == 0
    assert "scores.parquet was not written: ValueError: no columns" in capsys.readouterr().err

    assert main(words) == 0

    assert SAID not in capsys.readouterr().err
    assert next(Path(words[-1]).glob("reports/*/scores.parquet")).is_file()


@pytest.mark.parametrize("more", [["--sort", "method"], ["--seeds", "0"], ["--rewind", "1"]])
def test_other_words_are_not_taken_for_the_same_run(
    more: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *more]) == 0

    assert SAID not in capsys.readouterr().err
