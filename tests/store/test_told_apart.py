from dataclasses import replace

from bench.store.told_apart import told_apart
from tests.making.trials import TRIAL


def test_each_trial_is_told_with_what_most_others_have_not() -> None:
    plain = replace(TRIAL, hyper={"lr": None})
    other = replace(plain, hyper={"lr": 1e-4})
    frozen = replace(plain, recipe=replace(TRIAL.recipe, connector="frozen"))

    assert told_apart([plain, other, frozen]) == (
        f"{plain.id} (as most of them)",
        f"{other.id} (lr=0.0001)",
        f"{frozen.id} (recipe.connector=frozen)",
    )


def test_a_field_that_only_one_trial_has_is_named_with_its_value_or_none() -> None:
    parent = replace(TRIAL, hyper={"lr": 0.5})
    one, two = (replace(TRIAL, method="dare", hyper={}, parent=of) for of in (parent, replace(parent, hyper={})))

    first, second = told_apart([one, two])

    assert first == f"{one.id} (as most of them)"
    assert second == f"{two.id} (parent.lr=none)"
