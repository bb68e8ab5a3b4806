"""The commands of the pages are carried out as far as a machine without data, GPUs and a network can.

A command that trains is planned: on micro with --dry-run, on the paper's suite with bench plan, which needs neither its
data nor its model. A command that reads a run folder reads a stored one. test_docs.py parses every command.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.cli.verbs import VERBS
from tests.making.run_folders import THEMES, unpacked
from tests.themes.test_docs import PAGES, commands

PLACEHOLDER = re.compile(r"\b(?:NAME|OWNER|DIR|LABEL|ID|TRIAL|FILE)\b|…")
NOT_HERE = ("--plugin", "--config", "--save-config", "--probe")  # a file of the reader; a measurement
ONLY_RUN = ("--mix", "--dry-run")  # options of bench run that bench plan lacks
STORED = json.loads((THEMES / "pinned.json").read_text(encoding="utf-8"))["shown"]
TRIALS = {f"{method}-r32-icon_choice-s0": name for method, name in STORED.items()}

EVERY = sorted({line for page in PAGES for line in commands(page.read_text(encoding="utf-8"))})


def planned(line: str) -> list[str] | None:
    """Return the words that plan a command, or None if it plans nothing or names what is not here."""
    words = shlex.split(line)[1:]
    if PLACEHOLDER.search(line) or set(words) & set(NOT_HERE) or words == ["study", "ls"]:
        return None
    if "--output" in words:
        words[words.index("--output") + 1] = "runs"
    if "lorasculpt" in words and words[0] in ("run", "plan"):
        return ["plan", *(word for word in words[1:] if word not in ONLY_RUN)]
    verb = next(verb for verb in VERBS if verb.name == words[0])
    if words[0] == "plan":
        return words
    plans = not verb.verbs and "dry_run" in {item.name for item in fields(verb.options)}
    return [*words, *["--dry-run"] * ("--dry-run" not in words)] if plans and "lorasculpt" not in words else None


def read(line: str) -> list[str] | None:
    """Return the words that read the stored run folder, or None if the command reads none or names what it lacks."""
    words = [TRIALS.get(word, word) for word in shlex.split(line)[1:]]
    if words[0] not in ("ls", "leaderboard", "report", "show") or PLACEHOLDER.search(line):
        return None
    if "--output" in words:
        words[words.index("--output") + 1] = "runs"
    if words[0] == "show" and words[1] not in TRIALS.values():
        return None
    return None if "--run" in words and "latest" not in words else words


def whole(found: Iterable[list[str] | None]) -> list[list[str]]:
    """Return every command once."""
    return [list(words) for words in sorted({tuple(words) for words in found if words})]


@pytest.mark.slow
@pytest.mark.parametrize("words", whole(map(planned, EVERY)), ids=" ".join)
def test_a_command_that_trains_can_be_planned(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_DATA", raising=False)

    code = main(words)

    printed = capsys.readouterr()
    assert code == 0 or "--tuned finds no finished search" in printed.err, printed.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("words", whole(map(read, EVERY)), ids=" ".join)
def test_a_command_that_reads_a_run_folder_reads_a_stored_one(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unpacked("run_folder", tmp_path, monkeypatch)

    code = main(words)

    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert printed.out


def test_the_commands_of_the_paper_and_of_a_cluster_are_among_those_that_are_planned() -> None:
    lines = [" ".join(words) for words in whole(map(planned, EVERY))]

    assert any(line.startswith("plan --suite lorasculpt --methods paper --ranks 16,32,64") for line in lines)
    assert any("--address auto" in line for line in lines)
    assert any("--budget" in line for line in lines)
