from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.tasks import Tasks
from bench.search.quest import Quest, measure
from bench.search.run import quests
from bench.search.settings import SearchSettings
from bench.search.space import spaces
from bench.store.run_folder import Store
from bench.values.job import Job
from bench.values.record import Record
from tests.making.records import done


@pytest.fixture
def quest(tiny_suite: Suite, squares: Tasks, tmp_path: Path) -> Quest:
    cells = (("lora", "dare"), (2,), tiny_suite.targets, tiny_suite.sources)
    request = Request(tiny_suite, *cells, tiny_suite.recipe, seeds=(0, 1), split="validation", tasks=squares)
    store = Store(tmp_path)
    return quests(request, spaces(request), store, SearchSettings())[1]


def record(job: Job, source: float, target: float) -> Record:
    return done(job, {"old_squares": source, "new_squares": target})


def records(jobs: Mapping[str, Job], values: list[tuple[float, float]]) -> dict[str, Record]:
    return {key: record(job, *value) for (key, job), value in zip(jobs.items(), values, strict=True)}


def test_a_configuration_is_a_cell_per_seed_with_the_parents_they_edit(quest: Quest) -> None:
    jobs = quest.jobs({"drop_rate": 0.5})

    assert sorted(job.trial.method for job in jobs) == ["dare", "dare", "lora", "lora"]
    assert {asked.split for job in jobs for asked in job.asked} == {"validation"}
    assert {job.trial.hyper["drop_rate"] for job in jobs if job.asked} == {0.5}


def test_the_default_is_the_trial_that_bench_run_trains(quest: Quest, tiny_suite: Suite) -> None:
    request = replace(quest.request, methods=("lora",), seeds=(0,))
    (lora, *_) = quests(request, spaces(request), quest.store, SearchSettings())

    assert lora.default == {"lr": tiny_suite.recipe.lr}
    assert lora.hyper(lora.default)["lr"] is None


def test_source_and_target_are_means_over_seeds(quest: Quest) -> None:
    jobs = {job.trial.id: job for job in quest.jobs({"drop_rate": 0.5}) if job.asked}

    measured = measure(tuple(jobs.values()), records(jobs, [(0.5, 0.25), (1.0, 0.75)]))

    assert measured == (0.75, 0.5)


def test_a_configuration_with_a_failed_seed_has_no_measure(quest: Quest) -> None:
    jobs = {job.trial.id: job for job in quest.jobs({"drop_rate": 0.5}) if job.asked}
    found = records(jobs, [(0.5, 0.25), (1.0, 0.75)])
    last = list(found)[-1]

    assert measure(tuple(jobs.values()), {**found, last: replace(found[last], status="failed", scores={})}) is None


@pytest.mark.slow
def test_another_recipe_is_another_study(quest: Quest) -> None:
    request = replace(quest.request, recipe=replace(quest.request.recipe, updates=7))

    (other,) = quests(request, spaces(request), quest.store, SearchSettings())

    assert other.study.name != quest.study.name


@pytest.fixture
def trained(tiny_suite: Suite, squares: Tasks, tmp_path: Path) -> Quest:
    """A search over lora with a margin of 10 points, on a training of six updates."""
    request = Request(tiny_suite, ("lora",), (2,), tiny_suite.targets, tiny_suite.sources, tiny_suite.recipe)
    request = replace(request, split="validation", seeds=(0, 1), tasks=squares)
    store = Store(tmp_path)
    return quests(request, spaces(request), store, SearchSettings(margin=10))[0]


def look(quest: Quest, lr: float, step: int, source: float, target: float) -> None:
    """Write what a configuration's training gave at a step, as a lane does."""
    job = quest.jobs({"lr": lr})[0]
    values = {"old_squares": source, "new_squares": target}
    quest.store.change_of(job.trial).snapshot(step).folder.mkdir(parents=True, exist_ok=True)
    quest.store.change_of(job.trial).snapshot(step).write_scores({asked.key: values[asked.task] for asked in job.rungs})


def test_the_first_seed_alone_is_looked_at_after_each_third(trained: Quest) -> None:
    first, second = trained.jobs({"lr": 0.01})

    assert first.snapshots == (2, 4)
    assert {asked.task for asked in first.rungs} == {"old_squares", "new_squares"}
    assert {asked.split for asked in first.rungs} == {"validation"}
    assert (second.snapshots, second.rungs) == ((), ())


def test_without_a_margin_and_without_a_training_nothing_is_looked_at(trained: Quest, quest: Quest) -> None:
    assert replace(trained, margin=None).jobs({"lr": 0.01})[0].rungs == ()
    assert {job.rungs for job in replace(quest, margin=0.1).jobs({"drop_rate": 0.5})} == {()}


def test_hopeless_is_who_a_finished_one_beats_by_the_margin_in_both_at_the_same_step(trained: Quest) -> None:
    asked = trained.study.ask(9)
    assert asked is not None
    look(trained, float(asked.hyper["lr"] or 0), 2, 0.8, 0.5)
    assert not trained.hopeless(2, 0.1, 0.1)  # nothing is finished yet
    trained.study.tell(asked.number, 0.8, 0.9)

    assert trained.hopeless(2, 0.69, 0.39)
    assert trained.stops({"lr": 0.002}, 2, 0.69, 0.39)
    assert not trained.stops(asked.hyper, 2, 0.69, 0.39)  # the default is always trained to its end
    assert not trained.hopeless(2, 0.71, 0.1)  # within the margin in Source
    assert not trained.hopeless(2, 0.1, 0.41)  # within the margin in Target
    assert not trained.hopeless(4, 0.1, 0.1)  # no finished one was looked at here


def test_what_a_stop_saves_is_what_was_left_of_the_training(trained: Quest) -> None:
    asked = trained.study.ask(9)
    assert asked is not None
    look(trained, float(asked.hyper["lr"] or 0), 2, 0.8, 0.5)
    trained.study.prune(asked.number)

    (tried,) = trained.study.tried()
    assert trained.saved(tried) == 4 + 6  # the second seed was never trained
