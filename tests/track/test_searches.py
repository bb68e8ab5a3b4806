import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from bench.errors import StoreError
from bench.plugins.registry import Registry
from bench.store.run_folder import Store
from bench.store.search_results import Configuration, SearchResult
from bench.track import mirror_searches, sync
from bench.track.searches import metrics, write
from tests.track.conftest import another_process, client, runs

FACTS = {
    "method": "dare",
    "rank": 4,
    "target": "new",
    "study": "dare-r4-new-0123abcd",
    "suite": "small",
    "model": "m",
    "commit": "0123456789ab",
    "split": "validation",
    "limit": None,
    "seeds": [0],
    "trials": 4,
    "search_seed": 7,
    "objective": "avg",
    "hypervolume": 0.375,
    "front": [{"number": 1}],
    "default": {"number": 0, "hyper": {"drop_rate": 0.5}, "source": 0.5, "target": 0.25, "avg": 0.375},
    "chosen": {"number": 1, "hyper": {"drop_rate": 0.25}, "source": 0.75, "target": 0.5, "avg": 0.625},
    "importance": {"avg": {"drop_rate": 1.0}},
}
ROWS = (
    Configuration(0, {"drop_rate": 0.5}, "done", 0.5, 0.25, ("a", "b")),
    Configuration(1, {"drop_rate": 0.25}, "done", 0.75, 0.5, ("c", "d")),
    Configuration(2, {"drop_rate": 0.99}, "failed", None, None, ("e",)),
    Configuration(3, {"drop_rate": 0.9}, "stopped", None, None, ("f",)),
)
RESULT = SearchResult("dare-r4-new", "bench search --trials 4", {"drop_rate": "0.1 to 0.9"}, FACTS, ROWS)


@pytest.fixture
def root(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder in which a search has ended."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "o'brien's runs"
    put(folder, RESULT)
    shutil.copy(database, folder)
    return folder


def put(root: Path, result: SearchResult) -> None:
    folder = root / "search" / result.label
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "front.png").write_bytes(b"png")
    (folder / "search.json").write_text(result.text(), encoding="utf-8")


def test_a_search_is_a_run_with_a_quest_under_it_and_its_configurations_under_that(root: Path) -> None:
    mirror_searches(root)

    found = runs(root)
    command, quest = found.pop("bench search --trials 4"), found.pop("search/dare-r4-new")
    assert sorted(found) == [f"search/dare-r4-new/{number}" for number in range(4)]
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {quest.info.run_id}
    assert quest.data.tags["mlflow.parentRunId"] == command.info.run_id
    assert [run.data.tags["kind"] for run in (command, quest)] == ["search", "quest"]
    assert command.info.status == quest.info.status == "FINISHED"


def test_a_quest_shows_what_was_searched_what_it_came_to_and_what_mattered(root: Path) -> None:
    mirror_searches(root)

    quest = runs(root)["search/dare-r4-new"]
    assert quest.data.metrics == {
        "hypervolume": 0.375,
        "configurations": 4,
        "failed": 1,
        "stopped": 1,
        "front": 1,
        "default/source": 50.0,
        "default/target": 25.0,
        "default/avg": 37.5,
        "chosen/source": 75.0,
        "chosen/target": 50.0,
        "chosen/avg": 62.5,
        "importance/avg/drop_rate": 1.0,
    }
    assert quest.data.params["range.drop_rate"] == "0.1 to 0.9"
    assert quest.data.params["search_seed"] == "7"
    assert (quest.data.tags["chosen.drop_rate"], quest.data.tags["budget"]) == ("0.25", "4")
    assert {file.path for file in client(root).list_artifacts(quest.info.run_id)} == {"front.png", "search.json"}


def test_a_configuration_has_both_objectives_its_hyperparameters_and_its_trials(root: Path) -> None:
    mirror_searches(root)

    run = runs(root)["search/dare-r4-new/1"]
    assert run.data.metrics == {"validation/source": 75.0, "validation/target": 50.0, "validation/avg": 62.5}
    assert run.data.params == {"dare.drop_rate": "0.25"}
    assert (run.data.tags["kind"], run.data.tags["trials"], run.data.tags["is"]) == ("configuration", "c d", "chosen")


@pytest.mark.parametrize(("number", "state", "status"), [(2, "failed", "FAILED"), (3, "stopped", "KILLED")])
def test_a_configuration_without_scores_says_how_it_ended(root: Path, number: int, state: str, status: str) -> None:
    mirror_searches(root)

    run = runs(root)[f"search/dare-r4-new/{number}"]
    assert (run.info.status, run.data.tags["state"], run.data.metrics) == (status, state, {})


def test_the_same_search_again_writes_nothing_and_sync_has_nothing_to_do(root: Path) -> None:
    mirror_searches(root)
    before = {name: (run.info.run_id, run.info.end_time) for name, run in runs(root).items()}

    mirror_searches(root)

    assert sync(Store(root), Registry()) == 0
    assert {name: (run.info.run_id, run.info.end_time) for name, run in runs(root).items()} == before


def test_sync_brings_a_search_that_mlflow_has_missed(root: Path) -> None:
    assert sync(Store(root), Registry()) == 1
    assert "search/dare-r4-new/3" in runs(root)


def test_a_search_that_goes_on_with_a_larger_budget_goes_on_in_its_quests_run(root: Path) -> None:
    mirror_searches(root)
    before = {name: run.info.run_id for name, run in runs(root).items()}
    more = (*ROWS, Configuration(4, {"drop_rate": 0.2}, "done", 1.0, 0.5, ("g",)))
    chosen = {**FACTS["chosen"], "number": 4, "hyper": {"drop_rate": 0.2}, "source": 1.0}  # type: ignore[dict-item]
    facts = {**FACTS, "trials": 5, "chosen": chosen}
    put(root, replace(RESULT, command="bench search --trials 5", facts=facts, configurations=more))

    mirror_searches(root)

    after = runs(root)
    assert set(after) - set(before) == {"bench search --trials 5", "search/dare-r4-new/4"}
    assert {name: after[name].info.run_id for name in before} == before
    quest = after["search/dare-r4-new"]
    assert quest.data.tags["mlflow.parentRunId"] == after["bench search --trials 5"].info.run_id
    assert (quest.data.tags["budget"], quest.data.tags["chosen.drop_rate"]) == ("5", "0.2")
    assert quest.data.metrics["chosen/source"] == 100.0
    assert [after[f"search/dare-r4-new/{number}"].data.tags.get("is") for number in (0, 1, 4)] == [
        "default",
        None,
        "chosen",
    ]


def test_a_quest_of_which_everything_failed_has_failed(root: Path) -> None:
    facts = {**FACTS, "default": None, "chosen": None, "importance": {}, "front": [], "hypervolume": 0.0}
    put(root, replace(RESULT, facts=facts, configurations=ROWS[2:]))

    mirror_searches(root)

    quest = runs(root)["search/dare-r4-new"]
    assert quest.info.status == "FAILED"
    assert "chosen/avg" not in quest.data.metrics


def test_the_view_of_searches_lists_configurations_and_nothing_else(root: Path) -> None:
    mirror_searches(root)

    reader = client(root)
    experiment = reader.get_experiment_by_name("small")
    state = json.loads(json.loads(experiment.tags["mlflow.sharedViewState.bench.searches"])["state"])
    listed = reader.search_runs(
        [experiment.experiment_id], state["searchFilter"], order_by=[f"{state['orderByKey']} DESC"]
    )
    assert [run.data.tags["number"] for run in listed][:2] == ["1", "0"]  # the others have no scores
    assert len(listed) == len(ROWS)


def test_a_dead_server_is_one_warning(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    with caplog.at_level(logging.WARNING, "bench"):
        mirror_searches(root)

    (warning,) = [record.getMessage() for record in caplog.records if record.name == "bench.track.searches"]
    assert warning.endswith("The search is complete; bench sync updates MLflow later.")
    assert "secret" not in warning


def test_a_damaged_finding_is_named(root: Path) -> None:
    path = root / "search" / "dare-r4-new" / "search.json"
    path.write_text("{", encoding="utf-8")

    with pytest.raises(StoreError, match=r"search\.json is damaged"):
        SearchResult.read(path)


def test_a_finding_reads_back_as_it_was_written(root: Path) -> None:
    assert SearchResult.read(root / "search" / "dare-r4-new" / "search.json") == RESULT


def test_an_importance_is_a_metric_by_objective_and_hyperparameter() -> None:
    result = replace(RESULT, facts={**FACTS, "importance": {"source": {"lr": 0.25, "density": 0.75}}})

    found = {name: value for name, value in metrics(result).items() if name.startswith("importance/")}

    assert found == {"importance/source/lr": 0.25, "importance/source/density": 0.75}


@pytest.mark.slow
def test_a_configuration_takes_seven_commits(root: Path) -> None:
    mirror_searches(root)
    rows = tuple(Configuration(n, {"drop_rate": 0.5, "b": 1}, "done", 0.5, 0.25, (f"{n}",)) for n in range(20))
    put(root, replace(RESULT, configurations=rows))
    commits = list[object]()
    event.listen(Engine, "commit", noted := commits.append)

    mirror_searches(root)

    event.remove(Engine, "commit", noted)
    assert len(commits) <= 7 * 20 + 3  # three for the search


def test_a_search_in_a_folder_that_was_moved_is_not_written_a_second_time(root: Path, tmp_path: Path) -> None:
    mirror_searches(root)
    before = {name: run.info.run_id for name, run in runs(root).items()}
    moved = root.rename(tmp_path / "moved")
    another_process()

    assert write(moved) == 0
    put(moved, replace(RESULT, configurations=ROWS[:2]))
    assert write(moved) == 1

    assert {name: run.info.run_id for name, run in runs(moved).items()} == before
    assert not root.exists()
