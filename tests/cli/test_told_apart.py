"""What tells trials of one label apart in a listing."""

from dataclasses import replace

from bench.cli.told_apart import told_apart
from bench.values.trial import Trial
from tests.making.trials import TRIAL


def edit(parent: Trial, snapshot: int | None = None, **hyper: float) -> Trial:
    return replace(parent, method="rewind", hyper=hyper, parent=parent, snapshot=snapshot)


def test_trials_of_one_label_are_told_apart_by_what_differs() -> None:
    tried, other = replace(TRIAL, hyper={"lr": 0.1}), replace(TRIAL, method="dora")
    edits = [edit(TRIAL, strength=0.5), edit(TRIAL, strength=1.0, snapshot=1), edit(tried, strength=0.5)]
    frozen = replace(TRIAL, recipe=replace(TRIAL.recipe, connector="frozen"))

    found = told_apart([TRIAL, tried, frozen, *edits, edit(other, strength=0.5), replace(TRIAL, seed=1)])

    texts = list(found.values())
    assert texts[:3] == ["recipe.connector full", "lr 0.1, recipe.connector full", "recipe.connector frozen"]
    assert texts[3:6] == [
        "of lora, strength 0.5, update last",
        "of lora, strength 1, update 1",
        "of lora, strength 0.5, update last, lora.lr 0.1",
    ]
    assert texts[6:] == ["of dora", ""]


def test_trials_that_differ_in_data_or_code_are_told_apart_too() -> None:
    trials = [TRIAL, replace(TRIAL, data="e"), replace(TRIAL, code="x"), replace(TRIAL, model="n")]

    assert len(set(told_apart(trials).values())) == 4
