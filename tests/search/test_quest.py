from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bench.plan import Request
from bench.search.command import quests, spaces
from bench.search.quest import Quest, measure
from bench.spec import Record, Score, Work
from bench.store import Store
from bench.suite import Suite


@pytest.fixture
def quest(tiny_suite: Suite, tmp_path: Path) -> Quest:
    request = Request(
        tiny_suite, ("lora", "dare"), (2,), tiny_suite.targets, tiny_suite.sources, tiny_suite.recipe, seeds=(0, 1)
    )
    request = replace(request, split="validation")
    store = Store(tmp_path)
    return quests(request, spaces(request), store, 0)[1]


def record(work: Work, source: float, target: float) -> Record:
    values = {"old_squares": source, "new_squares": target}
    scores = {asked.key: Score(asked, "exact", {"exact": values[asked.task]}, "") for asked in work.asked}
    return Record(work.trial, "done", scores)


def records(works: Mapping[str, Work], values: list[tuple[float, float]]) -> dict[str, Record]:
    return {key: record(work, *value) for (key, work), value in zip(works.items(), values, strict=True)}


def test_a_configuration_is_a_cell_per_seed_with_the_parents_they_edit(quest: Quest) -> None:
    works = quest.works({"drop_rate": 0.5})

    assert sorted(work.trial.method for work in works) == ["dare", "dare", "lora", "lora"]
    assert {asked.split for work in works for asked in work.asked} == {"validation"}
    assert {work.trial.hyper["drop_rate"] for work in works if work.asked} == {0.5}


def test_the_default_is_the_trial_that_bench_run_trains(quest: Quest, tiny_suite: Suite) -> None:
    request = replace(quest.request, methods=("lora",), seeds=(0,))
    (lora, *_) = quests(request, spaces(request), quest.store, 0)

    assert lora.default == {"lr": tiny_suite.recipe.lr}
    assert lora.hyper(lora.default)["lr"] is None


def test_source_and_target_are_means_over_seeds(quest: Quest) -> None:
    works = {work.trial.id: work for work in quest.works({"drop_rate": 0.5}) if work.asked}

    measured = measure(tuple(works.values()), records(works, [(0.5, 0.25), (1.0, 0.75)]))

    assert measured == (0.75, 0.5)


def test_a_configuration_with_a_failed_seed_has_no_measure(quest: Quest) -> None:
    works = {work.trial.id: work for work in quest.works({"drop_rate": 0.5}) if work.asked}
    found = records(works, [(0.5, 0.25), (1.0, 0.75)])
    last = list(found)[-1]

    assert measure(tuple(works.values()), {**found, last: replace(found[last], status="failed", scores={})}) is None


def test_another_recipe_is_another_study(quest: Quest) -> None:
    request = replace(quest.request, recipe=replace(quest.request.recipe, updates=7))

    (other,) = quests(request, spaces(request), quest.store, 0)

    assert other.study.name != quest.study.name
