"""What no refactoring may change: the digests of the plugins, the ids of trials, and what a run folder says.

``pinned.json`` and ``run_folder/`` are of version 3, and change only with a raised version; a new control adds trials
to ``run_folder/`` and changes none. ``old_run_folder/`` was written by commit 9c529c3, of version 1: later versions
read it, and say that its trials are of an older version.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.plugins.registry import Registry
from bench.plugins.source import of_plugin
from bench.values.record import Record
from tests.making.run_folders import unpacked

HERE = Path(__file__).parent
PINNED = json.loads((HERE / "pinned.json").read_text(encoding="utf-8"))
OPTIONS = "--ranks 2 --targets icon_choice --limit 24 --set recipe.updates=40 --set recipe.batch_size=16"
RUN = f"run --methods lora,dare,lorasculpt --tuned --baselines --rewind 0.5,1 {OPTIONS} --set recipe.lr=0.02 --dry-run"

COMMANDS = {
    "leaderboard.txt": "leaderboard --format table --sort method",
    "leaderboard.md": "leaderboard --format markdown --sort method",
    "leaderboard.tex": "leaderboard --format latex --sort method",
    "trials.txt": "ls trials",
    "show.txt": "show @LORA",
    "examples.txt": "show @LORA --examples",
    "command.txt": "show @LORASCULPT --command",
    "plan.txt": RUN,
    "study.txt": f"study fig3 {OPTIONS} --set recipe.lr=0.02 --dry-run",
}
OLD_COMMANDS = {
    "trials.txt": "ls trials",
    "show.txt": "show ca1ced0516fd",
    "examples.txt": "show ca1ced0516fd --examples",
    "command.txt": "show 70ae3989216d --command",
    "leaderboard.txt": "leaderboard --format table --sort method",
}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run folder, without the weights that only export and edits read, as ./runs."""
    return unpacked("run_folder", tmp_path, monkeypatch)


@pytest.fixture
def old_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a run folder of version 1, as ./runs."""
    return unpacked("old_run_folder", tmp_path, monkeypatch)


def expected(folder: str, file: str, runs: Path) -> str:
    text = (HERE / folder / "expected" / file).read_text(encoding="utf-8")
    return text.replace("{root}", str(runs))


@pytest.mark.parametrize("name", PINNED["methods"])
def test_the_digest_of_a_methods_source_is_pinned(name: str) -> None:
    assert of_plugin(Registry().method(name)) == PINNED["methods"][name]


@pytest.mark.parametrize("name", PINNED["tasks"])
def test_the_digest_of_a_tasks_source_is_pinned(name: str) -> None:
    assert of_plugin(Registry().task_class(name)) == PINNED["tasks"][name]


def test_the_trials_of_make_run_keep_their_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--methods", "paper", "--ranks", "16,32,64", "--dry-run", "--output", str(tmp_path / "runs")]

    assert main(words) == 0

    listed = re.findall(r"^ +to do +(\w{12}) +(\S+):", capsys.readouterr().out, re.MULTILINE)
    assert {label: trial for trial, label in listed} == PINNED["trials"]
    assert len(listed) == 43


@pytest.mark.slow
@pytest.mark.parametrize("file", COMMANDS)
def test_a_run_folder_is_read_to_the_byte(file: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        COMMANDS[file].replace("@LORASCULPT", PINNED["shown"]["lorasculpt"]).replace("@LORA", PINNED["shown"]["lora"])
    )

    assert main(words.split()) == 0

    assert capsys.readouterr().out == expected("run_folder", file, runs)


@pytest.mark.slow
def test_a_leaderboard_is_written_to_the_byte(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "--format", "csv", "--sort", "method"]) == 0

    assert capsys.readouterr().out == (runs / "leaderboard.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(("folder", "count"), [("run_folder", 36), ("old_run_folder", 31)])
def test_every_record_of_a_run_folder_is_written_back_to_the_byte(
    folder: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(unpacked(folder, tmp_path, monkeypatch).glob("*/record.json"))

    assert len(paths) == count
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert json.dumps(Record.from_json(json.loads(text)).to_json(), indent=1) + "\n" == text


@pytest.mark.slow
@pytest.mark.parametrize("file", OLD_COMMANDS)
def test_a_run_folder_of_an_older_version_is_read_to_the_byte(
    file: str, old_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(OLD_COMMANDS[file].split()) == 0

    assert capsys.readouterr().out == expected("old_run_folder", file, old_runs)


def test_trials_of_an_older_version_are_marked_and_counted(old_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "trials"]) == 0

    printed = capsys.readouterr()
    assert all(line.endswith("version 1)") for line in printed.out.splitlines())
    assert printed.err.startswith("31 of the trials are of an older version than 3.")


@pytest.mark.slow
def test_a_table_says_that_the_trials_of_an_older_version_are_not_in_it(
    old_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["leaderboard"]) == 0

    assert "31 trials in this run folder are of an older version and not in the tables." in capsys.readouterr().out


@pytest.mark.slow
def test_nothing_of_an_older_version_is_trained_again_without_a_line(
    old_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(RUN.split()) == 0

    printed = capsys.readouterr()
    assert "cached: 0 of " in printed.out
    assert "31 of the trials are of an older version than 3." in printed.err
    assert "What this command needs of them is trained again." in printed.err


@pytest.mark.slow
def test_clean_names_the_trials_of_an_older_version(
    old_runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda question: "n")

    assert main(["clean"]) == 0

    assert "bench clean --trials" in capsys.readouterr().err
    assert len(list(old_runs.glob("*/record.json"))) == 31


@pytest.mark.parametrize("folder", ["run_folder", "old_run_folder"])
def test_a_change_is_exported(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = unpacked(folder, tmp_path, monkeypatch)
    name = "adapter_model.safetensors"
    change = next(there.glob(f"lora-*/change/{name}")).parent

    assert main(["export", change.parent.name.rpartition("-")[2], "--adapter", str(tmp_path / "adapter")]) == 0

    assert (tmp_path / "adapter" / name).read_bytes() == (change / name).read_bytes()
