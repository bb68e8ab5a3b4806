"""A leaderboard that was shown before needs no method and no picture, and has the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bench.cli import remembered
from bench.cli.main import main
from bench.cli.options import Cells
from bench.cli.reports import outline_of
from bench.cli.request import read_request
from bench.cli.which_run import new_run, with_trials
from bench.plan.baselines import make
from bench.plugins import installed_code
from bench.plugins.registry import Registry
from bench.plugins.task import Reading, Task
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from bench.store.runs import save_run
from bench.values.record import Record
from tests.making.records import write_scores

METHODS = "lora,dare,l2,model_tailor"
CELLS = Cells(methods=METHODS, ranks="16", limit="10", rewind="0.5")
ENVIRONMENT = {"device": "cpu", "torch": "2.13.0", "eval_batch": "64"}


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache folder, and code that counts as old enough although a test may follow a fresh clone."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(installed_code, "_SETTLED_SECONDS", float("-inf"))
    installed_code.of_installed.cache_clear()


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A run of micro that trained nothing: scores of every trial but one that failed, one missing, one elsewhere."""
    (store := Store(tmp_path / "runs")).prepare()
    made = make(read_request(CELLS, store.root), store)
    for place, job in enumerate(made.jobs):
        if job.trial.method != "l2":
            store.folder(job.trial).mkdir()
            here = {**ENVIRONMENT, "torch": "2.12.0"} if job.trial.method == "model_tailor" else ENVIRONMENT
            store.write(replace(write_scores(store, job.trial, job.asked, 1 - 0.1 * (place % 9), here)))
    edit = next(cell.trial for cell in made.cells if cell.trial.method == "dare")
    store.write(Record(edit, "failed", error="no memory"))
    save_run(store, with_trials(new_run("run", "bench run --limit 10", CELLS), made))
    return store.root


def refuse(*_: Any) -> NoReturn:
    raise AssertionError("a plan was made")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--sort", "lost"],
        ["--mix"],
        ["--format", "json"],
        ["--format", "csv"],
        ["--run", "latest", "--data", "elsewhere"],
        ["--methods", "lora,dare", "--ranks", "16", "--limit", "10", "--every-source"],
        ["--methods", METHODS, "--ranks", "16", "--limit", "10", "--seeds", "0,1", "--set", "dare.drop_rate=0.5"],
    ],
)
def test_a_remembered_leaderboard_has_the_same_bytes(
    words: list[str], output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["leaderboard", *words, "--output", str(output)]
    assert main(command) == 0
    planned = capsys.readouterr()

    monkeypatch.setattr(remembered, "make", refuse)
    assert main(command) == 0

    again = capsys.readouterr()
    assert again.out == planned.out
    assert again.err == planned.err
    assert "lora" in again.out


def test_a_remembered_leaderboard_reads_every_score_again(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["leaderboard", "--output", str(output)]) == 0
    planned = capsys.readouterr().out
    store = Store(output)
    lora = next(record for record in store.records() if record.trial.method == "lora")
    store.write(replace(lora, status="failed", scores={}, error="no disk"))

    monkeypatch.setattr(remembered, "make", refuse)
    assert main(["leaderboard", "--output", str(output)]) == 0

    again = capsys.readouterr().out
    assert "no disk" in again
    assert "no disk" not in planned


def test_a_run_leaves_its_leaderboard_remembered(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(output)
    made = make(read_request(CELLS, output), store)
    remembered.remember(replace(CELLS, methods=",".join(made.request.methods)), made, outline_of(made))

    monkeypatch.setattr(remembered, "make", refuse)

    assert main(["leaderboard", "--output", str(output)]) == 0
    assert "lora" in capsys.readouterr().out


def test_other_code_means_another_plan(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["leaderboard", "--output", str(output)]) == 0
    monkeypatch.setattr(remembered, "make", refuse)
    monkeypatch.setattr(remembered, "of_installed", lambda: "other code")

    with pytest.raises(AssertionError, match="a plan was made"):
        main(["leaderboard", "--output", str(output)])


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"cells": []}'])
def test_a_damaged_memo_is_made_again(text: str, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "--output", str(output)]) == 0
    planned = capsys.readouterr().out
    (memo,) = (output.parent / "cache").glob("memos.*/*.json")
    memo.write_text(text, encoding="utf-8")

    assert main(["leaderboard", "--output", str(output)]) == 0

    assert capsys.readouterr().out == planned


@pytest.mark.parametrize(
    "change",
    [
        {"baselines": True},
        {"tuned": ""},
        {"model": "elsewhere"},
        {"plugin": (Path("mine.py"),)},
        {"suite": "lorasculpt"},
        {"suite": "nothing"},
    ],
)
def test_what_also_depends_on_other_files_is_not_remembered(change: dict[str, Any]) -> None:
    assert remembered.key_of(CELLS) is not None
    assert remembered.key_of(replace(CELLS, **change)) is None


def test_a_task_that_reads_files_is_not_remembered() -> None:
    request = read_request(replace(CELLS, targets="icon_choice"), Path("runs"))

    assert remembered._follows_from_code(request)
    assert not remembered._follows_from_code(replace(request, targets=("gqa",)))


def test_a_plugin_file_is_not_remembered(squares: Tasks) -> None:
    request = read_request(replace(CELLS, targets="icon_choice"), Path("runs"))

    other = replace(request, tasks=squares, targets=("new_squares",), sources=())

    assert not remembered._follows_from_code(other)


def drawn() -> list[str]:
    registry = Registry()
    return [name for name in registry.names("task") if registry.task_class(name).manifest is Task.manifest]


def test_every_task_without_a_manifest_is_known() -> None:
    assert set(drawn()) >= {"easy_vqa", "cover_digits", "sign_words", "thing_facts", "icon_choice", "scene_caption"}


@pytest.mark.parametrize("name", drawn())
def test_a_task_without_a_manifest_reads_nothing_from_the_data_folder(name: str, tmp_path: Path) -> None:
    tasks = Tasks(reading=Reading(tmp_path / "none"))

    assert tasks.load(name).examples("test")
    assert not (tmp_path / "none").exists()


def tree(folder: Path) -> Callable[[], list[Path]]:
    return lambda: sorted(folder.rglob("*.py"))


def test_a_digest_of_the_code_changes_with_a_file_and_with_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text("one", encoding="utf-8")
    monkeypatch.setattr(installed_code, "_own_files", tree(tmp_path))
    found = []
    for text, package in [("one", "pillow-1"), ("two", "pillow-1"), ("two", "pillow-2")]:
        (tmp_path / "own.py").write_text(text, encoding="utf-8")
        monkeypatch.setattr("sys.path", [str(tmp_path / package)])
        (tmp_path / package / f"{package}.dist-info").mkdir(parents=True, exist_ok=True)
        installed_code.of_installed.cache_clear()
        found.append(installed_code.of_installed())

    installed_code.of_installed.cache_clear()
    assert None not in found
    assert len(set(found)) == 3


def test_code_that_was_just_changed_has_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.py").write_text("one", encoding="utf-8")
    monkeypatch.setattr(installed_code, "_own_files", tree(tmp_path))
    monkeypatch.setattr(installed_code, "_SETTLED_SECONDS", 60.0)

    assert installed_code.of_installed() is None
    installed_code.of_installed.cache_clear()
