"""The command bench clean."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.store.changes import CHECKPOINT
from bench.store.run_folder import RECORD, Store
from bench.store.search_results import Configuration, SearchResult
from bench.track import ARTIFACTS
from bench.values.record import Cost, Record
from tests.making.run_folders import unpacked
from tests.making.searches import score_here

pytestmark = pytest.mark.usefixtures("one_mlflow")


def methods(output: Path) -> list[str]:
    return sorted(record.trial.method for record in Store(output).records())


def forget(output: Path, name: str) -> None:
    """Delete the reports of the runs with this name, so that no run needs their trials alone."""
    for path in output.glob(f"reports/{name}*"):
        shutil.rmtree(path)


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--trials"]])
def test_the_trials_of_every_run_are_needed(
    options: list[str], two_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clean", "--yes", *options, "--output", str(two_runs)]) == 0

    assert capsys.readouterr().err.endswith("Nothing to free.\n")
    assert methods(two_runs) == ["dare", "lora", "zero_shot"]


@pytest.mark.slow
def test_finished_trials_go_only_with_trials_with_their_training_and_their_bytes(
    two_runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(two_runs, "tiny-lora-dare")
    (record,) = (record for record in Store(two_runs).records() if record.trial.method == "dare")
    Store(two_runs).write(Record(record.trial, "done", record.scores, Cost(train_seconds=7200.0)))
    folder, mirror = Store(two_runs).folder(record.trial), two_runs / ARTIFACTS / "1" / "adapter"
    mirror.mkdir(parents=True)
    for path in (folder / "change").iterdir():
        (mirror / path.name).hardlink_to(path)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return "y"

    monkeypatch.setattr("builtins.input", answer)
    capsys.readouterr()

    assert main(["clean", "--output", str(two_runs)]) == 0
    assert methods(two_runs) == ["dare", "lora", "zero_shot"]
    assert "needs 1 finished trial, 2.0 hours of training, " in capsys.readouterr().err
    assert main(["clean", "--trials", "--output", str(two_runs)]) == 0

    assert asked == [f"Delete 1 finished trial, 2.0 hours of training, {size / 1e6:.1f} MB? [y/N] "]
    assert methods(two_runs) == ["lora", "zero_shot"]
    assert not list(mirror.iterdir())


@pytest.mark.slow
def test_a_file_that_has_a_name_outside_the_run_folder_frees_nothing(
    two_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forget(two_runs, "tiny-lora-dare")
    folder = next(two_runs.glob("dare-*"))
    (folder / "large").write_bytes(bytes(5_000_000))
    os.link(folder / "large", tmp_path / "mine")
    capsys.readouterr()

    assert main(["clean", "--trials", "--yes", "--output", str(two_runs)]) == 0

    assert "Freed 0.0 MB." in capsys.readouterr().err
    assert (tmp_path / "mine").stat().st_size == 5_000_000


@pytest.mark.slow
def test_leftovers_go_and_what_a_run_still_needs_stays(two_runs: Path) -> None:
    needed, other = next(two_runs.glob("dare-*")), two_runs / "l2-r2-new_squares-s0-0123456789ab"
    (needed / RECORD).rename(needed / f"{RECORD}.corrupt")
    (needed / "change.corrupt").mkdir()
    other.mkdir()
    for folder in (needed, other):
        (folder / CHECKPOINT).touch()
    shutil.copytree(next(two_runs.glob("lora-*")) / "change", two_runs / "l2-r2-new_squares-s0-aaaaaaaaaaaa" / "change")
    (two_runs / "l2-r2-new_squares-s0-aaaaaaaaaaaa" / "fitted.json").write_text('{"seconds": 60.0}', encoding="utf-8")
    (two_runs / "reports" / "x.md.123.tmp").touch()
    finished = next(two_runs.glob("lora-*"))
    (finished / CHECKPOINT).touch()

    assert main(["clean", "--yes", "--output", str(two_runs)]) == 0

    assert not other.exists()
    assert not (two_runs / "reports" / "x.md.123.tmp").exists()
    assert not (finished / CHECKPOINT).exists()
    assert (finished / RECORD).is_file()
    assert (needed / CHECKPOINT).is_file()
    assert not list(needed.glob("*.corrupt"))
    assert (two_runs / "l2-r2-new_squares-s0-aaaaaaaaaaaa" / "change").is_dir()  # trained, but not scored


@pytest.mark.slow
def test_what_a_search_tried_is_needed_with_its_parents(two_runs: Path) -> None:
    dare = Store(two_runs).find("dare").trial
    forget(two_runs, "tiny")
    tried = Configuration(0, {}, "done", 0.5, 0.5, (dare.id,))
    folder = two_runs / "search" / "dare-r2-new_squares"
    folder.mkdir(parents=True)
    (folder / "search.json").write_text(
        SearchResult("dare-r2-new_squares", "", {}, {}, (tried,)).text(), encoding="utf-8"
    )

    assert main(["clean", "--trials", "--yes", "--output", str(two_runs)]) == 0

    assert methods(two_runs) == ["dare", "lora"]


def test_the_trials_of_an_interrupted_search_are_needed(
    tiny_words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    score_here(monkeypatch)
    monkeypatch.setattr("bench.search.run._work", killed)
    assert main(["search", "--methods", "dare", *tiny_words]) == 130
    output = tmp_path / "runs"
    kept, other = (output / f"{name}-r2-new_squares-s0-0123456789ab" for name in ("dare", "l2"))
    base = Store(output).find("zero_shot").trial
    for folder in (kept, other):
        folder.mkdir()
        (folder / CHECKPOINT).touch()

    assert main(["clean", "--trials", "--yes", "--output", str(output)]) == 0

    assert (kept / CHECKPOINT).is_file()
    assert not other.exists()
    assert Store(output).read(base) is not None


@pytest.mark.slow
def test_trials_of_an_older_version_are_named_and_go_only_with_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = unpacked("old_run_folder", tmp_path, monkeypatch)
    monkeypatch.setattr("builtins.input", lambda question: "n")

    assert main(["clean"]) == 0
    error = capsys.readouterr().err
    assert main(["clean", "--trials"]) == 0

    assert " finished trials (" in error
    assert " of an older version), " in error
    assert "(a trial of an older version, 1; no run, search, study or sequence needs it)" in capsys.readouterr().out
    assert len(list(runs.glob("*/record.json"))) == 31


def test_nothing_is_offered_if_a_run_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = unpacked("run_folder", tmp_path, monkeypatch)
    note = runs / "command.json"
    note.write_text(
        note.read_text(encoding="utf-8").replace('"lora,dare,lorasculpt"', '"lora,dare,gone"'), encoding="utf-8"
    )

    assert main(["clean", "--trials", "--yes"]) == 0

    error = capsys.readouterr().err
    assert "are not known, because its command cannot be read: No method named 'gone'." in error
    assert "Nothing to free." in error
    assert len(list(runs.glob("*/record.json"))) == 36
