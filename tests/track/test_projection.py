"""What MLflow shows of a record."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from bench.plugins.registry import Registry
from bench.store.run_folder import Store
from bench.track.projection import NOT_SHOWN, project, reference_of
from bench.values.recipe import EVALUATED, Recipe
from bench.values.record import Cost, Record
from bench.values.scores import Score
from tests.making.mirrors import DARE, LORA, RECIPE, ZERO_SHOT, asked


def test_a_trial_that_sees_source_data_says_so() -> None:
    replay = replace(LORA, method="replay", sources=("old",))
    edit = replace(DARE, parent=replay)
    shown = {
        trial.method: project(Record(trial, "done"), None, {"new"}, Registry()).tags for trial in (LORA, replay, edit)
    }

    assert "given" not in shown["lora"]
    assert shown["replay"]["given"] == shown["dare"]["given"] == "sees source data"


def test_all_tasks_of_a_joint_trial_are_its_targets() -> None:
    joint = replace(LORA, target="new+newer", together=("new", "newer"))
    scores = {
        asked(task).key: Score(asked(task), "accuracy", {"accuracy": value}, "f")
        for task, value in {"new": 1.0, "newer": 0.5, "old": 0.25}.items()
    }

    metrics = project(Record(joint, "done", scores), None, {"new", "newer"}, Registry()).metrics

    assert {name: value for name, value in metrics.items() if name.endswith("avg")} == {
        "source/avg": 25.0,
        "target/avg": 75.0,
        "avg": 50.0,
    }
    assert metrics["target/newer"] == 50.0


def test_the_base_model_has_an_avg_for_each_target_and_other_targets_are_no_sources() -> None:
    scores = {
        asked(task).key: Score(asked(task), "accuracy", {"accuracy": value}, "f")
        for task, value in {"old": 0.5, "new": 0.25, "newer": 1.0}.items()
    }
    record = Record(ZERO_SHOT, "done", scores)

    new, newer = (project(record, None, {"new", "newer"}, Registry(), of=of) for of in ("new", "newer"))

    assert (new.metrics["avg"], newer.metrics["avg"]) == (37.5, 75.0)
    assert (new.tags["target"], newer.tags["target"]) == ("new", "newer")
    assert (new.metrics["source/avg"], new.metrics["task/newer"]) == (50.0, 100.0)


def test_scores_have_the_two_decimals_of_the_table_and_costs_keep_their_units() -> None:
    score = Score(asked("new"), "accuracy", {"accuracy": 0.24693749}, "f")
    record = Record(LORA, "done", {asked("new").key: score}, Cost(train_seconds=7.125))

    metrics = project(record, None, {"new"}, Registry()).metrics

    assert (metrics["target/new"], metrics["cost/train_seconds"]) == (24.69, 7.125)


def test_every_field_of_the_recipe_is_shown_or_named_as_not_shown() -> None:
    recipe = replace(RECIPE, micro_batch_size=1, clip=1.0)  # None is not shown

    params = project(Record(replace(LORA, recipe=recipe), "done"), None, {"new"}, Registry()).params

    shown = {name.removeprefix("recipe.") for name in params if name.startswith("recipe.")}
    assert shown | NOT_SHOWN == {field.name for field in fields(Recipe)}
    assert not shown & NOT_SHOWN


def test_a_trial_on_a_4_bit_base_does_not_look_like_one_on_the_full_weights() -> None:
    recipes = (RECIPE, replace(RECIPE, quantization="4bit"))

    full, quantized = (
        project(Record(replace(LORA, recipe=recipe), "done"), None, {"new"}, Registry()).params for recipe in recipes
    )

    assert (full["recipe.quantization"], quantized["recipe.quantization"]) == ("none", "4bit")


def test_the_zero_shot_row_shows_what_evaluation_reads_of_the_recipe() -> None:
    params = project(Record(ZERO_SHOT, "done"), None, {"new"}, Registry()).params

    assert params.keys() == {"method", *(f"recipe.{name}" for name in EVALUATED)}


def test_an_edit_shows_the_recipes_learning_rate_where_its_parent_took_that() -> None:
    assert project(Record(DARE, "done"), None, {"new"}, Registry()).params["lora.lr"] == "0.001"


def test_a_hyperparameter_never_stands_for_a_field_of_the_trial_that_has_its_name() -> None:
    names = ("method", "rank", "target", "seed", "edits")
    trial = replace(DARE, method="mine", hyper={name: f"my {name}" for name in names})

    params = project(Record(trial, "done"), None, {"new"}, Registry()).params

    assert [params[name] for name in names] == ["mine", "4", "new", "0", "lora-r4-new-s0"]
    assert [params[f"mine.{name}"] for name in names] == [f"my {name}" for name in names]


def test_a_task_counts_with_the_score_of_most_examples(store: Store) -> None:
    few, many = asked("old", 2), asked("old", 4)
    scores = {item.key: Score(item, "accuracy", {"accuracy": value}, "f") for item, value in ((many, 0.5), (few, 1.0))}

    projection = project(Record(LORA, "done", scores), store.read(ZERO_SHOT), {"new"}, Registry())

    assert projection.metrics["source/old"] == 50.0
    assert "forgetting/old" not in projection.metrics  # zero-shot was scored on other examples


@pytest.mark.parametrize("read", [{"eval_dtype": "bfloat16"}, {"template": "{prompt}"}, {"image": "pad"}])
def test_a_trial_is_compared_with_the_zero_shot_row_of_the_same_recipe(read: dict[str, Any]) -> None:
    trials = (LORA, replace(LORA, recipe=replace(RECIPE, **read)))
    zero_shots = [
        Record(replace(ZERO_SHOT, recipe=replace(ZERO_SHOT.recipe, **changed)), "done") for changed in ({}, read)
    ]

    assert [reference_of(Record(trial, "done"), zero_shots) for trial in trials] == zero_shots


def test_the_split_and_examples_of_the_base_model_are_those_of_its_target_and_the_sources() -> None:
    specs = [asked("old"), asked("new"), asked("old", 8, "validation"), asked("newer", 8, "validation")]
    scores = {item.key: Score(item, "accuracy", {"accuracy": item.count / 10}, "f") for item in specs}
    record = Record(ZERO_SHOT, "done", scores)

    new, newer = (project(record, None, {"new", "newer"}, Registry(), (), ("old",), of=of) for of in ("new", "newer"))

    assert (new.tags["split"], new.tags["examples"]) == ("test", "2")
    assert (newer.tags["split"], newer.tags["examples"]) == ("validation", "8")
    assert (new.metrics["source/avg"], newer.metrics["source/avg"]) == (20.0, 80.0)
