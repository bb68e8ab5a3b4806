"""What a task returns: examples that break one rule each, and scores outside their range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bench import DataError, Example, PluginError, Split, Task
from bench.plugins.examples import check_scores, read_examples
from bench.plugins.registry import Registry

SOUND = Example("a", "which shade ?", ("dark",), Path("a.png"))


class One(Task):
    """A task with the examples that it is given."""

    name: ClassVar[str] = "one"
    paper: ClassVar[str] = "none: a test"
    primary: ClassVar[str] = "exact"

    def __init__(self, *examples: Any) -> None:
        self._examples = examples

    def examples(self, split: Split) -> Sequence[Example]:
        return {"train": self._examples}[str(split)]

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {"exact": np.zeros(len(examples))}


class Nameless(One):
    """A task without a main metric."""

    primary: ClassVar[str] = None  # type: ignore[assignment]  # as in a class that sets none


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"answers": "one"}, "answers must be a tuple of str; example 'a' of train has 'one'."),
        ({"answers": (1,)}, "answers must be a tuple of str; example 'a' of train has (1,)."),
        ({"answers": ()}, "answers must have at least one answer; example 'a' of train has ()."),
        ({"answers": (" ",)}, "answers must begin with the answer to teach, which is not empty; example 'a' of"),
        ({"question": None}, "question must be a str; example 'a' of train has None."),
        ({"question": 1.5}, "question must be a str; example 'a' of train has 1.5."),
        ({"image": np.zeros(2)}, "image must be a PIL.Image or a pathlib.Path; example 'a' of train has a numpy.nda"),
        ({"hints": "red"}, "hints must be a tuple of str; example 'a' of train has 'red'."),
        ({"id": 7}, "id must be a str that is not empty; example 1 of train has 7."),
        ({"id": "first"}, "id must be unique in its split; example 'first' of train repeats it."),
    ],
)
def test_an_example_that_breaks_a_rule_is_told_with_the_rule_and_its_value(changes: dict[str, Any], told: str) -> None:
    task = One(replace(SOUND, id="first"), replace(SOUND, **changes))

    with pytest.raises(PluginError) as error:
        read_examples(task, "train")

    assert str(error.value).startswith(f"The task one: {told}")
    assert "\n" not in str(error.value)


def test_a_missing_split_is_told_with_the_splits_that_a_task_needs() -> None:
    with pytest.raises(PluginError, match=r"has no validation split.*Return examples for train, validation and test\."):
        read_examples(One(SOUND), "validation")


def test_a_task_that_fails_is_named_with_what_it_says_and_its_own_errors_pass() -> None:
    class Failing(One):
        error: ClassVar[Exception]

        def examples(self, split: Split) -> Sequence[Example]:
            raise self.error

    Failing.error = ValueError("this task has no training split.")
    with pytest.raises(
        PluginError,
        match=r"gives no train examples: .*in examples: ValueError: this task has no training split\. Mend the",
    ):
        read_examples(Failing(), "train")
    Failing.error = DataError("no files")
    with pytest.raises(DataError, match="no files"):
        read_examples(Failing(), "train")


def test_a_task_without_a_main_metric_is_refused_when_it_is_loaded() -> None:
    with pytest.raises(PluginError, match="names no main metric"):
        Registry().add(Nameless)


@pytest.mark.parametrize("value", [15.0, -0.5, 1.01])
def test_a_score_outside_its_range_is_refused(value: float) -> None:
    with pytest.raises(PluginError, match=f"scores exact {value:g}, outside 0 to 1. Return fractions"):
        check_scores(One(SOUND), {"exact": np.array([value])}, 1)


def test_a_metric_may_state_a_higher_range() -> None:
    caption = Registry().task_class("scene_caption")()

    check_scores(caption, {"cider": np.array([9.9])}, 1)
    with pytest.raises(PluginError, match="outside 0 to 10"):
        check_scores(caption, {"cider": np.array([133.0])}, 1)
