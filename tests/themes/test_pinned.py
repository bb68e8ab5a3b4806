"""What no refactoring may change: the digests of the plugins, the ids of trials, and what an old run folder says.

``pinned.json`` and ``old_run_folder/`` were written by commit 9c529c3. They change only together with a raised version.
"""

from __future__ import annotations

import csv
import json
import re
import tarfile
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.environment import commit
from bench.plugins.registry import Registry
from bench.plugins.source import of_plugin
from bench.spec import Record

HERE = Path(__file__).parent
PINNED = json.loads((HERE / "pinned.json").read_text())
EXPECTED = HERE / "old_run_folder" / "expected"
OPTIONS = "--ranks 2 --targets icon_choice --limit 24 --set recipe.updates=40 --set recipe.batch_size=16"
RUN = f"run --methods lora,dare,lorasculpt --tuned --baselines --rewind 0.5,1 {OPTIONS} --set recipe.lr=0.02 --dry-run"

COMMANDS = {
    "leaderboard.txt": "leaderboard --format table",
    "leaderboard.md": "leaderboard --format markdown",
    "leaderboard.tex": "leaderboard --format latex",
    "trials.txt": "ls trials",
    "show.txt": "show ca1ced0516fd",
    "examples.txt": "show ca1ced0516fd --examples",
    "command.txt": "show 70ae3989216d --command",
    "plan.txt": RUN,
    "study.txt": f"study fig3 {OPTIONS} --set recipe.lr=0.02 --dry-run",
}


@pytest.fixture
def old_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the old run folder, without the weights that only export and edits read, as ./runs."""
    with tarfile.open(HERE / "old_run_folder" / "runs.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.mark.parametrize("name", PINNED["methods"])
def test_the_digest_of_a_methods_source_is_pinned(name: str) -> None:
    assert of_plugin(Registry().method(name)) == PINNED["methods"][name]


@pytest.mark.parametrize("name", PINNED["tasks"])
def test_the_digest_of_a_tasks_source_is_pinned(name: str) -> None:
    assert of_plugin(Registry().task_class(name)) == PINNED["tasks"][name]


def test_the_trials_of_make_run_keep_their_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--methods", "all", "--ranks", "16,32,64", "--dry-run", "--output", str(tmp_path / "runs")]

    assert main(words) == 0

    listed = re.findall(r"^ +to do +(\w{12}) +(\S+):", capsys.readouterr().out, re.MULTILINE)
    assert {label: trial for trial, label in listed} == PINNED["trials"]
    assert len(listed) == 43


@pytest.mark.parametrize("file", COMMANDS)
def test_an_old_run_folder_is_read_to_the_byte(file: str, old_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(COMMANDS[file].split()) == 0

    expected = (EXPECTED / file).read_text().replace("{root}", str(old_runs)).replace("{commit}", commit())
    assert capsys.readouterr().out == expected


def test_an_old_leaderboard_has_the_same_numbers(old_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "--format", "csv"]) == 0

    now, before = (
        _without_intervals(text) for text in (capsys.readouterr().out, (old_runs / "leaderboard.csv").read_text())
    )
    assert now == before
    assert len(now) > 100


def _without_intervals(text: str) -> list[dict[str, str]]:
    """Return the lines of a CSV report without intervals and marks, whose rules have changed since."""
    lines = list(csv.DictReader(text.splitlines()))
    return [{name: value for name, value in line.items() if name not in {"low", "high", "mark"}} for line in lines]


def test_every_record_of_an_old_run_folder_is_written_back_to_the_byte(old_runs: Path) -> None:
    paths = sorted(old_runs.glob("*/record.json"))

    assert len(paths) == 31
    for path in paths:
        text = path.read_text()
        assert json.dumps(Record.from_json(json.loads(text)).to_json(), indent=1) + "\n" == text


def test_an_old_change_is_exported(old_runs: Path, tmp_path: Path) -> None:
    assert main(["export", "2a251668ba82", "--adapter", str(tmp_path / "adapter")]) == 0

    change = next(old_runs.glob("*2a251668ba82")) / "change"
    name = "adapter_model.safetensors"
    assert (tmp_path / "adapter" / name).read_bytes() == (change / name).read_bytes()
