import json
import logging
from pathlib import Path

import pytest

from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.tasks import Tasks
from bench.search import figures
from bench.search.pareto import Point
from bench.search.quest import Quest
from bench.search.report import lines, publish
from bench.search.results import provenance, quest_result
from bench.search.run import quests, trials_left
from bench.search.settings import SearchSettings
from bench.search.space import spaces
from bench.store.run_folder import Store
from bench.store.search_results import SearchResult, search_results
from bench.values.record import Record


@pytest.fixture
def quest(tiny_suite: Suite, squares: Tasks, tmp_path: Path) -> Quest:
    cells = (("lorasculpt",), (2,), tiny_suite.targets, tiny_suite.sources)
    request = Request(tiny_suite, *cells, tiny_suite.recipe, seeds=(0, 1), split="validation", tasks=squares)
    store = Store(tmp_path / "runs")
    store.prepare()
    return quests(request, spaces(request), store, SearchSettings())[0]


def searched(quest: Quest) -> SearchResult:
    """Give every configuration a score by its density, and let the second fail."""
    setting = SearchSettings(trials=6, margin=5.0)
    while (asked := quest.study.ask(setting.trials)) is not None:
        if asked.number == 1:
            quest.study.fail(asked.number)
        else:
            quest.study.tell(asked.number, float(asked.hyper["density"] or 0), 0.5)
    return quest_result(quest, setting, provenance(quest.request, setting), "bench search")


@pytest.mark.slow
def test_a_search_result_has_every_configuration_with_its_state_and_the_trials_of_its_seeds(quest: Quest) -> None:
    result = searched(quest)

    assert [item.state for item in result.configurations] == ["done", "failed", *["done"] * 4]
    first = result.configurations[0]
    jobs = quest.jobs(first.hyper)
    assert first.trials == tuple(job.trial.id for job in jobs)
    assert len(set(first.trials)) == 2
    assert (first.source, first.target) == (first.hyper["density"], 0.5)
    assert result.default == 0
    assert (result.facts["split"], result.facts["trials"]) == ("validation", 6)
    assert result.facts["model_name"] == quest.request.suite.model_name != "tiny"


@pytest.mark.slow
def test_a_search_leaves_a_folder_per_quest_and_draws_nothing_twice(
    quest: Quest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    result, store = searched(quest), quest.store
    with caplog.at_level(logging.WARNING, "bench"):
        publish(store, [quest], [result])

    ((stored, folder),) = search_results(store.root)
    assert folder == store.root / "search" / result.label
    assert stored == result
    assert len(list(folder.iterdir())) == 4 * 3 + 1
    assert [record.name for record in caplog.records if record.name.startswith("bench")] == ["bench.track.searches"]

    monkeypatch.setattr(figures, "write", None)  # called, it would raise
    publish(store, [quest], [result])


@pytest.mark.slow
def test_the_table_says_what_mattered_and_how_little_that_means(quest: Quest) -> None:
    result = searched(quest)

    (line,) = [line for line in lines([result]) if "mattered" in line]

    assert line.startswith("lorasculpt-r2-new_squares: what mattered for Avg: ")
    assert line.endswith("; 5 configurations give only a hint.")
    assert json.loads(result.text())["facts"]["importance"] == result.facts["importance"]


def test_a_result_says_why_a_configuration_failed_and_where_it_was_stopped(
    quest: Quest, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (quest.study.ask(2) for _ in range(2))
    assert first is not None
    assert second is not None
    (job, *_) = quest.jobs(first.hyper)
    quest.store.begin(job.trial)
    quest.store.write(Record(job.trial, "failed", error="no memory at /home/ann/runs"))
    quest.study.fail(first.number)
    quest.study.prune(second.number)
    monkeypatch.setattr(Quest, "seen", lambda self, hyper: {2: Point(0, 0.1, 0.1), 4: Point(0, 0.1, 0.1)})

    setting = SearchSettings(trials=2)
    failed, stopped = quest_result(quest, setting, provenance(quest.request, setting), "bench search").configurations

    assert (failed.state, failed.reason, failed.step) == ("failed", "no memory at …/runs", None)
    assert (stopped.state, stopped.reason, stopped.step) == ("stopped", "", 4)


def test_the_trials_that_a_search_still_has_are_counted_once(tiny_suite: Suite, squares: Tasks, tmp_path: Path) -> None:
    cells = (("lora", "dare"), (2,), tiny_suite.targets, tiny_suite.sources)
    request = Request(tiny_suite, *cells, tiny_suite.recipe, split="validation", tasks=squares)
    store = Store(tmp_path / "runs")
    store.prepare()
    lora, dare = quests(request, spaces(request), store, SearchSettings())

    def left(*asked: Quest) -> dict[str, int]:
        found: dict[str, int] = {}
        for job, count in trials_left(asked, 3):
            found[job.trial.label] = found.get(job.trial.label, 0) + count
        return found

    lora_label, dare_label = "lora-r2-new_squares-s0", "dare-r2-new_squares-s0"
    assert left(lora, dare) == {lora_label: 3, dare_label: 3}  # the default of lora is what dare edits
    assert left(dare) == {lora_label: 1, dare_label: 3}
    asked = dare.study.ask(3)
    assert asked is not None
    dare.study.tell(asked.number, 0.5, 0.5)
    assert left(lora, dare) == {lora_label: 3, dare_label: 2}
    shared = next(job for job in dare.shared if job.trial.method == "lora")
    store.write(Record(shared.trial, "failed", error="no luck"))
    assert left(dare) == {lora_label: 1, dare_label: 2}
    store.write(Record(shared.trial, "done"))
    assert left(dare) == {dare_label: 2}


@pytest.mark.slow
def test_a_range_reads_as_words(quest: Quest) -> None:
    assert searched(quest).space["density"] == "0.02 to 0.5, log"
