from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.search_plan import plan_lines
from bench.lanes.setup import Launch
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.tasks import Tasks
from bench.prepare.price.measured import this_machine
from bench.search.outlook import Outlook, outlooks
from bench.search.run import quests, wanted_spaces
from bench.search.settings import SearchSettings
from bench.store.run_folder import Store
from tests.making.records import done

SETTING = SearchSettings(trials=3)


@pytest.fixture
def request_of_both(tiny_suite: Suite, squares: Tasks) -> Request:
    cells = (("lora", "dare"), (2,), tiny_suite.targets, tiny_suite.sources)
    return Request(tiny_suite, *cells, tiny_suite.recipe, seeds=(0, 1), split="validation", tasks=squares)


def looked(request: Request, store: Store) -> tuple[Outlook, ...]:
    return outlooks(request, wanted_spaces(request, SETTING), SETTING, store)


def text(request: Request, store: Store) -> list[str]:
    return list(plan_lines(request, SETTING, store, Launch(1)))


def test_a_search_that_has_not_begun_has_all_its_configurations_left_and_writes_nothing(
    request_of_both: Request, tmp_path: Path
) -> None:
    lora, dare = looked(request_of_both, Store(tmp_path / "runs"))

    assert [(each.tried, each.left, each.trainings) for each in (lora, dare)] == [(0, 3, 6), (0, 3, 0)]
    assert not (tmp_path / "runs").exists()


def test_configurations_of_an_earlier_command_are_not_left(request_of_both: Request, tmp_path: Path) -> None:
    store = Store(tmp_path)
    lora, _ = quests(request_of_both, wanted_spaces(request_of_both, SETTING), store, SETTING)
    asked = lora.study.ask(3)
    assert asked is not None
    lora.study.tell(asked.number, 0.5, 0.5)

    assert [(each.tried, each.left) for each in looked(request_of_both, store)] == [(1, 2), (0, 3)]


def test_the_trainings_of_parents_are_counted_once(request_of_both: Request, tmp_path: Path) -> None:
    # 2 seeds x 3 configurations of LoRA; DARE edits the trainings of LoRA's first configuration, its defaults.
    assert text(request_of_both, Store(tmp_path))[0] == (
        "2 searches of 3 configurations each: 6 left, with at most 6 trainings"
    )


def test_the_table_names_what_is_searched_and_the_time_needs_a_finished_training(
    request_of_both: Request, tmp_path: Path
) -> None:
    found = text(request_of_both, Store(tmp_path))

    assert [line.split() for line in found[1:4]] == [
        ["tried", "left", "trainings", "searched"],
        ["lora-r2-new_squares", "0", "3", "6", "lr"],
        ["dare-r2-new_squares", "0", "3", "0", "drop_rate"],
    ]
    assert found[4].startswith("Time: not known")


def test_the_time_follows_from_finished_trainings(request_of_both: Request, tmp_path: Path) -> None:
    store = Store(tmp_path)
    lora, _ = looked(request_of_both, store)
    for job in lora.first.jobs:
        record = done(job)
        scores = {key: replace(score, seconds=2.0) for key, score in record.scores.items()}
        cost = replace(record.cost, train_seconds=30.0)
        store.write(replace(record, scores=scores, cost=cost, environment=this_machine()))

    assert text(request_of_both, store)[-1].startswith("Time: at most about ")
