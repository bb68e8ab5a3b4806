"""A whole search on real Ray: killed, gone on with, and used."""

import json
import sqlite3
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.plan.suite import Suite
from bench.search.quest import Quest
from tests.making.searches import score_here
from tests.making.waiting import killed_when

pytestmark = pytest.mark.ray

BUDGET = 5


def query(database: Path, question: str) -> list[tuple[object, ...]]:
    if not database.is_file():
        return []
    with sqlite3.connect(database) as connection:
        try:
            return connection.execute(question).fetchall()
        except sqlite3.OperationalError:  # the tables are being made
            return []


def states(database: Path) -> list[object]:
    return [state for (state,) in query(database, "select state from trials")]


def test_a_killed_search_goes_on_to_its_budget_and_its_choice_can_be_run(
    tiny_command: list[str],
    tiny_suite: Suite,
    tiny_tasks: Path,
    runs: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    database = runs / "search.db"
    cells = ["--suite", "tiny", "--plugin", str(tiny_tasks), "--methods", "lora,dare", "--ranks", "2"]
    search = ["search", *cells, "--lanes", "1", "--trials", str(BUDGET), "--margin", "none", "--output", str(runs)]
    killed_when(lambda: states(database).count("COMPLETE") >= 2, [*tiny_command, *search])
    before = states(database)

    assert main(search) == 0

    assert 2 <= before.count("COMPLETE") < 2 * BUDGET
    assert states(database).count("COMPLETE") == 2 * BUDGET
    assert not {"RUNNING", "WAITING"} & set(states(database))
    complete = "select study_id, group_concat(param_value) from trials join trial_params using (trial_id)"
    points = query(database, f"{complete} where state = 'COMPLETE' group by trial_id")
    assert len(set(points)) == 2 * BUDGET
    trainings = [folder for folder in runs.glob("lora-*") if (folder / "record.json").is_file()]
    assert len(trainings) == BUDGET  # the default is the parent that dare edits
    rows = json.loads((runs / "search.json").read_text(encoding="utf-8"))["chosen"]
    assert [(row["method"], row["tried"], row["failed"]) for row in rows] == [("lora", BUDGET, 0), ("dare", BUDGET, 0)]
    assert all(row["chosen"]["avg"] >= row["default"]["avg"] for row in rows)
    capsys.readouterr()
    assert main(["run", *cells, "--tuned", "--lanes", "0", "--output", str(runs)]) == 0
    assert "dare" in capsys.readouterr().out


def test_stopped_trainings_free_their_lane_and_enter_no_front(
    tiny_suite: Suite,
    tiny_tasks: Path,
    runs: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def all_but_one(quest: Quest, *_: object) -> bool:
        return any(tried.state == "done" for tried in quest.study.tried())

    score_here(monkeypatch)
    monkeypatch.setattr(Quest, "hopeless", all_but_one)
    cells = ["--suite", "tiny", "--plugin", str(tiny_tasks), "--methods", "lora", "--ranks", "2", "--lanes", "1"]

    assert main(["search", *cells, "--seeds", "0,1", "--trials", str(BUDGET), "--output", str(runs)]) == 0

    said = capsys.readouterr()
    database = states(runs / "search.db")
    # on one lane the proxies that began with the first are past their rungs when it ends, at most
    assert database.count("COMPLETE") + database.count("PRUNED") == BUDGET
    assert database.count("PRUNED") >= 2
    (row,) = json.loads((runs / "search.json").read_text(encoding="utf-8"))["chosen"]
    assert row["stopped"] == database.count("PRUNED")
    assert row["updates_saved"] > 0
    assert row["front"]
    assert {point["number"] for point in row["front"]} <= {
        number for number, state in query(runs / "search.db", "select number, state from trials") if state == "COMPLETE"
    }
    assert "updates were not trained" in said.out
    assert said.err.count("stopped early") == database.count("PRUNED")


_THIRD = """

class Newer(Squares):
    \"\"\"What is learnt after New.\"\"\"
    name: ClassVar[str] = "newer_squares"
    first: int = 7000
"""


def test_a_chain_is_tuned_as_a_whole_and_its_choice_becomes_a_row(
    tiny_suite: Suite, tiny_tasks: Path, runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tiny_tasks.open("a", encoding="utf-8") as file:
        file.write(_THIRD)
    score_here(monkeypatch)
    order = "new_squares.newer_squares"
    cells = ["--suite", "tiny", "--plugin", str(tiny_tasks), "--tasks", order.replace(".", ","), "--ranks", "2"]
    cells += ["--methods", "lora+lines", "--output", str(runs), "--lanes"]

    assert main(["search", *cells, "1", "--trials", "2"]) == 0
    (row,) = json.loads((runs / "search.json").read_text(encoding="utf-8"))["chosen"]
    capsys.readouterr()
    assert main(["sequence", *cells, "0", "--tuned"]) == 0
    table = capsys.readouterr().out

    assert (row["method"], row["target"], row["tried"], row["failed"]) == ("lora+lines", order, 2, 0)
    assert row["split"] == "validation"
    assert row["chosen"]["avg"] >= row["default"]["avg"]
    assert row["default"]["hyper"]["alpha"] == 0.5
    trained = sorted(folder.name.rsplit("-", 1)[0] for folder in runs.glob("lora-*"))
    edited = order.replace(".", "+lines.")
    assert trained.count(f"lora-r2-{edited}-s0") == 2  # a second stage for each try, on what its edit has left
    assert "lora+lines tuned" in table
