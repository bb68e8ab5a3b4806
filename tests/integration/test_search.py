"""A whole search on real Ray: killed, gone on with, and used."""

import json
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.making.waiting import kill, until

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
    tiny_command: list[str], tiny_tasks: Path, tmp_path: Path
) -> None:
    output = tmp_path / "runs"
    database = output / "search.db"
    cells = ["--suite", "tiny", "--plugin", str(tiny_tasks), "--methods", "lora,dare", "--ranks", "2", "--lanes", "1"]
    search = ["search", *cells, "--trials", str(BUDGET), "--margin", "none", "--output", str(output)]
    driver = subprocess.Popen([*tiny_command, *search], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: states(database).count("COMPLETE") >= 2 or driver.poll() is not None)
    kill(driver)
    before = states(database)

    again = subprocess.run([*tiny_command, *search], capture_output=True, encoding="utf-8", timeout=600, check=False)

    assert again.returncode == 0, again.stderr
    assert 2 <= before.count("COMPLETE") < 2 * BUDGET
    assert states(database).count("COMPLETE") == 2 * BUDGET
    assert not {"RUNNING", "WAITING"} & set(states(database))
    complete = "select study_id, group_concat(param_value) from trials join trial_params using (trial_id)"
    points = query(database, f"{complete} where state = 'COMPLETE' group by trial_id")
    assert len(set(points)) == 2 * BUDGET
    trainings = [folder for folder in output.glob("lora-*") if (folder / "record.json").is_file()]
    assert len(trainings) == BUDGET  # the default is the parent that dare edits
    rows = json.loads((output / "search.json").read_text(encoding="utf-8"))["chosen"]
    assert [(row["method"], row["tried"], row["failed"]) for row in rows] == [("lora", BUDGET, 0), ("dare", BUDGET, 0)]
    assert all(row["chosen"]["avg"] >= row["default"]["avg"] for row in rows)
    tuned = ["run", *cells, "--tuned", "--output", str(output)]
    ran = subprocess.run([*tiny_command, *tuned], capture_output=True, encoding="utf-8", timeout=600, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "dare" in ran.stdout


_STOP_ALL_BUT_ONE = """
from bench.search.quest import Quest
Quest.hopeless = lambda quest, step, source, target: any(tried.state == "done" for tried in quest.study.tried())
"""


def test_stopped_trainings_free_their_lane_and_enter_no_front(
    tiny_command: list[str], tiny_tasks: Path, tmp_path: Path
) -> None:
    python, flag, driver, folder = tiny_command
    output = tmp_path / "runs"
    cells = ["--suite", "tiny", "--plugin", str(tiny_tasks), "--methods", "lora", "--ranks", "2", "--lanes", "1"]
    words = ["search", *cells, "--seeds", "0,1", "--trials", str(BUDGET), "--output", str(output)]

    ran = subprocess.run(
        [python, flag, _STOP_ALL_BUT_ONE + driver, folder, *words],
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    database = states(output / "search.db")
    # on one lane the proxies that began with the first are past their rungs when it ends, at most
    assert database.count("COMPLETE") + database.count("PRUNED") == BUDGET
    assert database.count("PRUNED") >= 2
    (row,) = json.loads((output / "search.json").read_text(encoding="utf-8"))["chosen"]
    assert row["stopped"] == database.count("PRUNED")
    assert row["updates_saved"] > 0
    assert row["front"]
    assert {point["number"] for point in row["front"]} <= {
        number
        for number, state in query(output / "search.db", "select number, state from trials")
        if state == "COMPLETE"
    }
    assert "updates were not trained" in ran.stdout
    assert ran.stderr.count("stopped early") == database.count("PRUNED")


_THIRD = """

class Newer(Squares):
    \"\"\"What is learnt after New.\"\"\"
    name: ClassVar[str] = "newer_squares"
    first: int = 7000
"""


def test_a_chain_is_tuned_as_a_whole_and_its_choice_becomes_a_row(
    tiny_command: list[str], tiny_tasks: Path, tmp_path: Path
) -> None:
    with tiny_tasks.open("a", encoding="utf-8") as file:
        file.write(_THIRD)
    output, order = tmp_path / "runs", "new_squares.newer_squares"
    cells = ["--suite", "tiny", "--plugin", str(tiny_tasks), "--tasks", order.replace(".", ","), "--ranks", "2"]
    cells += ["--methods", "lora+lines", "--lanes", "1", "--output", str(output)]

    def bench(*words: str) -> str:
        ran = subprocess.run([*tiny_command, *words], capture_output=True, encoding="utf-8", timeout=600, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    bench("search", *cells, "--trials", "2")
    (row,) = json.loads((output / "search.json").read_text(encoding="utf-8"))["chosen"]
    table = bench("sequence", *cells, "--tuned")

    assert (row["method"], row["target"], row["tried"], row["failed"]) == ("lora+lines", order, 2, 0)
    assert row["split"] == "validation"
    assert row["chosen"]["avg"] >= row["default"]["avg"]
    assert row["default"]["hyper"]["alpha"] == 0.5
    trained = sorted(folder.name.rsplit("-", 1)[0] for folder in output.glob("lora-*"))
    edited = order.replace(".", "+lines.")
    assert trained.count(f"lora-r2-{edited}-s0") == 2  # a second stage for each try, on what its edit has left
    assert "lora+lines tuned" in table
