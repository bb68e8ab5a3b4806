"""The binary copy of a trial's scores: it says what the examples say, or it is made again."""

import json
import os
from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.errors import StoreError
from bench.store import scores as stored
from bench.store.numbers import FILE, Numbers, packed, read_numbers, unpacked
from bench.store.run_folder import Store
from bench.store.scores import StoredScores
from bench.values.scores import Score
from tests.making.recording import recorded
from tests.making.trials import ASKED, TRIAL


def rows(*values: float) -> list[dict[str, Any]]:
    return [
        {"id": str(place), "question": "?", "answers": ["a"], "prediction": "ä", "scores": {"m": value, "lenient": 1}}
        for place, value in enumerate(values)
    ]


@pytest.fixture
def trial(tmp_path: Path) -> StoredScores:
    """The stored scores of a trial that has one."""
    found = Store(tmp_path).scores_of(TRIAL)
    found.write(ASKED.key, rows(0.1, 1 / 3))
    return found


@pytest.fixture
def score() -> Score:
    return Score(ASKED, "m", {"m": 0.2, "lenient": 1.0}, f"scores/{ASKED.key}.jsonl")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Score]:
    """The scores whose examples are read."""
    found: list[Score] = recorded(monkeypatch, StoredScores, "read")
    return found


def test_numbers_survive_the_file_to_the_bit() -> None:
    known = {
        "k1": Numbers({"m": array("d", [0.1, 1 / 3, -0.0]), "lenient": array("d", [1, 2, 1e-300])}, "ab", 7),
        "k2": Numbers({"m": array("d", [])}, "cd", 0),
    }

    assert unpacked(packed(known)) == known


def test_the_numbers_of_a_score_are_those_of_its_examples_and_no_example_is_read(
    trial: StoredScores, score: Score, reads: list[Score]
) -> None:
    found = trial.numbers([score])[ASKED.key]

    assert {name: list(values) for name, values in found.by_metric.items()} == {"m": [0.1, 1 / 3], "lenient": [1, 1]}
    assert found == Numbers.of(rows(0.1, 1 / 3), found.size)
    assert reads == []


def test_a_second_score_leaves_the_first_in_the_file(trial: StoredScores) -> None:
    trial.write("other", rows(0.5))

    assert set(read_numbers(trial.folder / "scores")) == {ASKED.key, "other"}


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[:-3],
    "longer": lambda content: content + b"x",
    "a bit": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "empty": lambda content: b"",
    "no JSON": lambda content: b"\xff" + content,
    "another form": lambda content: content.replace(b'"form": 1', b'"form": 2'),
    "a list": lambda content: b"[]\n",
    "of fewer examples": lambda content: packed({ASKED.key: Numbers({"m": array("d", [1.0])}, "", 0)}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_again_from_the_examples(
    damage: str, trial: StoredScores, score: Score, reads: list[Score]
) -> None:
    path = trial.folder / "scores" / FILE
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))

    again, twice = trial.numbers([score]), trial.numbers([score])

    assert again == twice == unpacked(whole)
    assert reads == [score]
    assert path.read_bytes() == whole


def test_a_folder_of_an_older_version_gets_the_file(trial: StoredScores, score: Score, reads: list[Score]) -> None:
    path = trial.folder / "scores" / FILE
    whole = path.read_bytes()
    path.unlink()

    trial.numbers([score])

    assert path.read_bytes() == whole
    assert reads == [score]


@pytest.fixture
def changed(trial: StoredScores, score: Score) -> StoredScores:
    """The trial after somebody changed an example of its score, in a file that is as long as before."""
    path = trial.folder / score.file
    path.write_text(path.read_text(encoding="utf-8").replace('"m": 0.1', '"m": 0.7'), encoding="utf-8")
    later = (trial.folder / "scores" / FILE).stat().st_mtime_ns + 1
    os.utime(path, ns=(later, later))
    return trial


def test_examples_that_were_changed_later_count(changed: StoredScores, score: Score, reads: list[Score]) -> None:
    assert list(changed.numbers([score])[ASKED.key].by_metric["m"]) == [0.7, 1 / 3]
    assert reads == [score]


@pytest.mark.parametrize("counted", [False, True])
def test_another_score_that_is_written_or_counted_hides_no_change(
    counted: bool, changed: StoredScores, score: Score
) -> None:
    asked = replace(ASKED, task="other", count=1)
    other = Score(asked, "m", {"m": 0.5}, f"scores/{asked.key}.jsonl")
    if counted:
        (changed.folder / other.file).write_text(f"{json.dumps(rows(0.5)[0])}\n", encoding="utf-8")
        changed.numbers([other])
    else:
        changed.write(asked.key, rows(0.5))

    assert other.asked.key in read_numbers(changed.folder / "scores")
    assert list(changed.numbers([score])[ASKED.key].by_metric["m"]) == [0.7, 1 / 3]


def test_numbers_whose_examples_are_gone_are_refused(trial: StoredScores, score: Score) -> None:
    (trial.folder / score.file).unlink()

    with pytest.raises(StoreError, match=r"jsonl is missing or damaged .* run again"):
        trial.numbers([score])


def test_an_example_without_scores_is_refused_in_one_line(trial: StoredScores, score: Score) -> None:
    trial.write(ASKED.key, [{"id": "1"}, {"id": "2"}])

    with pytest.raises(StoreError, match="has an example without its scores") as refused:
        trial.numbers([score])

    assert "\n" not in str(refused.value)


def test_a_folder_that_takes_no_file_is_read(
    trial: StoredScores, score: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    (trial.folder / "scores" / FILE).unlink()

    def refused(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(stored, "write_numbers", refused)

    assert list(trial.numbers([score])[ASKED.key].by_metric["m"]) == [0.1, 1 / 3]
