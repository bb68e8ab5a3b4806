"""The speed that records show, worked by hand."""

from dataclasses import replace

import pytest

from bench.prepare.price.measured import measured
from bench.prepare.price.work import Todo
from bench.values.recipe import Recipe
from bench.values.record import Cost, Record
from bench.values.scores import Score, ScoreSpec
from bench.values.trial import Trial

RECIPE = Recipe(updates=10, batch_size=8, lr=1e-3, connector_lr=1e-4)
LORA = Trial("lora", {}, 2, "squares", 0, RECIPE, "model", "", "")
DARE = replace(LORA, method="dare", parent=LORA)
HERE = {"device": "cpu", "processor": "one"}


def declared(name: str) -> float:
    return {"mdgd": 3.2, "light": 0.5}.get(name, 1.0)


def asked(task: str, count: int) -> ScoreSpec:
    return ScoreSpec(task, "test", count, "", 8, "")


def ran(trial: Trial, train: float, **seconds: float) -> Record:
    """A record of a trial that trained for some seconds, and gave 100 answers to each task in others."""
    scores = [Score(asked(task, 100), "exact", {"exact": 1.0}, "", took) for task, took in seconds.items()]
    return Record(trial, "done", {score.asked.key: score for score in scores}, Cost(train_seconds=train), HERE)


def test_rates_are_those_of_the_trials_by_method_and_by_task() -> None:
    found = measured([ran(LORA, 4.0, squares=10.0), ran(LORA, 12.0, squares=30.0, words=5.0)], "model", HERE, declared)

    assert found is not None
    assert found.of("lora") == pytest.approx(80 / 4)  # of two trials the faster
    assert found.answers_of("squares") == pytest.approx(200 / 40)
    assert found.answers_of("words") == pytest.approx(100 / 5)
    assert found.answers_of("unknown") == pytest.approx((5 + 20) / 2)
    assert "2 trials of the run folder, on cpu" in found.origin


def test_a_method_that_never_ran_takes_loras_time_times_what_it_declares() -> None:
    dora = replace(LORA, method="dora")
    found = measured([ran(LORA, 4.0, squares=10.0), ran(dora, 16.0)], "model", HERE, declared)

    assert found is not None
    assert found.of("new", 4.0) == pytest.approx(80 / 4 / 4.0)
    assert found.of("dora", 4.0) == pytest.approx(80 / 16)  # its own figure counts, not what it declares


def test_the_median_trial_counts_because_the_first_on_a_target_also_computes_the_features() -> None:
    found = measured([ran(LORA, took, squares=10.0) for took in (40.0, 4.0, 5.0, 60.0, 6.0)], "model", HERE, declared)

    assert found is not None
    assert found.of("lora") == pytest.approx(80 / 6)


@pytest.mark.parametrize(("updates", "rate"), [(19, 80 / 4), (20, 160 / 40)])
def test_trainings_of_a_few_updates_count_only_if_there_are_no_others(updates: int, rate: float) -> None:
    longer = replace(LORA, recipe=replace(RECIPE, updates=updates))
    others = [ran(longer, 2 * updates) for _ in range(2)]
    found = measured([ran(LORA, 4.0, squares=10.0) for _ in range(3)] + others, "model", HERE, declared)

    assert found is not None
    assert found.of("lora") == pytest.approx(rate)


def test_a_lora_that_only_ran_first_is_as_fast_as_the_fastest_method() -> None:
    dora, mdgd = replace(LORA, method="dora"), replace(LORA, method="mdgd")
    found = measured([ran(LORA, 40.0, squares=10.0), ran(dora, 4.0), ran(mdgd, 8.0)], "model", HERE, declared)

    assert found is not None
    assert found.of("new", 2.0) == pytest.approx(80 / 4 / 2)
    assert found.of("lora") == pytest.approx(80 / 4)
    assert found.of("mdgd", 3.2) == pytest.approx(80 / 8)


def test_a_method_that_declares_less_than_loras_time_does_not_speed_lora_up() -> None:
    found = measured([ran(LORA, 4.0, squares=10.0), ran(replace(LORA, method="light"), 2.0)], "model", HERE, declared)

    assert found is not None
    assert found.of("lora") == pytest.approx(80 / 4)


def test_an_edit_takes_its_own_seconds_or_those_of_the_fastest_that_was_measured() -> None:
    tailor = replace(DARE, method="model_tailor")
    found = measured([ran(LORA, 4.0, squares=10.0), ran(DARE, 1.0), ran(tailor, 3.0)], "model", HERE, declared)

    assert found is not None
    assert [found.edit_seconds(name) for name in ("dare", "model_tailor", "lines")] == [1.0, 3.0, 1.0]


def test_an_edit_that_was_not_measured_takes_three_passes_of_each_example_that_it_captures() -> None:
    found = measured([ran(LORA, 4.0, squares=10.0), ran(DARE, 1.0)], "model", HERE, declared)
    tailor = replace(DARE, method="model_tailor")

    assert found is not None
    edit = Todo(tailor, False, (), edits=True, captured=128)
    assert edit.seconds(found) == edit.edit_seconds(found) == pytest.approx(128 * 3 * (4.0 / 80) / 2)
    known = measured([ran(LORA, 4.0, squares=10.0), ran(tailor, 7.0)], "model", HERE, declared)
    assert known is not None
    assert edit.seconds(known) == 7.0
    assert Todo(tailor, False, (), captured=128).edit_seconds(known) == 0.0


def test_trials_of_another_model_or_machine_do_not_count() -> None:
    other = replace(ran(LORA, 4.0, squares=10.0), environment={**HERE, "processor": "two"})

    assert measured([ran(LORA, 4.0, squares=10.0)], "another", HERE, declared) is None
    assert measured([other], "model", HERE, declared) is None
    assert measured([], "model", HERE, declared) is None


def test_seconds_of_several_workers_are_counted_for_each_of_them() -> None:
    record = replace(ran(LORA, 4.0, squares=10.0), environment={**HERE, "workers": "2"})

    found = measured([record], "model", HERE, declared)

    assert found is not None
    assert found.of("lora") == pytest.approx(80 / 8)
    assert found.answer == pytest.approx(100 / 20)


def test_what_is_left_of_a_trial_is_priced_part_by_part() -> None:
    rates = measured([ran(LORA, 4.0, squares=10.0, words=5.0), ran(DARE, 1.0)], "model", HERE, declared)
    assert rates is not None

    training = Todo(replace(LORA, method="new"), True, (asked("words", 40),), slowdown=3.5)
    edit = Todo(DARE, False, (asked("squares", 40),), edits=True)

    assert training.seconds(rates) == pytest.approx(3.5 * 4.0 + 40 / 20)
    assert edit.seconds(rates) == pytest.approx(1.0 + 40 / 10)
