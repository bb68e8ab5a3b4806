"""One deliberately broken task per check, and one that keeps every rule. No torch: a check imports this."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from typing_extensions import override

from bench import Example, PluginError, Split, Task
from bench.checks import checks, checks_in, tasks
from bench.checks.tasks import (
    check_examples_are_stable,
    check_examples_keep_the_contract,
    check_model_knows_the_words,
    check_own_answer_scores_best,
    check_primary_is_scored,
    check_prompt_ignores_the_answers,
    check_splits_are_disjoint,
)
from bench.plan.suite import MICRO
from bench.plugins.tasks import Tasks

_FIRST = {"train": 0, "validation": 80, "test": 160}
_WORDS = ("black", "dark", "light", "white")


class Shades(Task):
    """Name a shade of gray; keeps every rule."""

    name: ClassVar[str] = "shades"
    paper: ClassVar[str] = "none: a test"
    primary: ClassVar[str] = "exact"

    @override
    def examples(self, split: Split) -> Sequence[Example]:
        shades = range(_FIRST[split], _FIRST[split] + 80)
        return [Example(f"{split}-{n}", "which shade ?", (_WORDS[n % 4],), _picture(n)) for n in shades]

    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        pairs = zip(examples, predictions, strict=True)
        return {"exact": np.array([float(said in example.answers) for example, said in pairs])}


def _picture(shade: int) -> Image.Image:
    return Image.new("RGB", (4, 4), (shade, shade, shade))


class NoValidation(Shades):
    @override
    def examples(self, split: Split) -> Sequence[Example]:
        return [] if split == "validation" else super().examples(split)


class OneIdTwice(Shades):
    @override
    def examples(self, split: Split) -> Sequence[Example]:
        return [replace(example, id=example.id.split("-")[1][-1]) for example in super().examples(split)]


class TestImagesInTrain(Shades):
    __test__ = False

    @override
    def examples(self, split: Split) -> Sequence[Example]:
        examples = super().examples(split)
        return [*examples, replace(examples[0], id="copy", image=_picture(165))] if split == "train" else examples


class ShufflesAnew(Shades):
    @override
    def examples(self, split: Split) -> Sequence[Example]:
        return random.sample(super().examples(split), 80)


class OrderOfASet(Shades):
    @override
    def examples(self, split: Split) -> Sequence[Example]:
        examples = {example.id: example for example in super().examples(split)}
        return [examples[key] for key in set(examples)]


class LowerIsBetter(Shades):
    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {"exact": 1 - super().score(examples, predictions)["exact"]}


class SilenceIsGolden(Shades):
    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {"exact": super().score(examples, predictions)["exact"] + [said == "" for said in predictions]}


class OtherMetric(Shades):
    primary: ClassVar[str] = "accuracy"


class OneNumberForAll(Shades):
    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {"exact": super().score(examples, predictions)["exact"].mean()}


class PromptTellsTheAnswer(Shades):
    @override
    def prompt(self, example: Example) -> str:
        return f"{example.question} it is not {example.answers[0]}"


BROKEN: list[tuple[Any, type[Task]]] = [
    (check_examples_keep_the_contract, NoValidation),
    (check_splits_are_disjoint, OneIdTwice),
    (check_splits_are_disjoint, TestImagesInTrain),
    (check_examples_are_stable, ShufflesAnew),
    (check_examples_are_stable, OrderOfASet),
    (check_own_answer_scores_best, LowerIsBetter),
    (check_own_answer_scores_best, SilenceIsGolden),
    (check_primary_is_scored, OtherMetric),
    (check_primary_is_scored, OneNumberForAll),
    (check_prompt_ignores_the_answers, PromptTellsTheAnswer),
]


class AnswersAText(Shades):
    @override
    def examples(self, split: Split) -> Sequence[Example]:
        text: Any = "dark"
        return [replace(example, answers=text) for example in super().examples(split)]


class ScoresInPercent(Shades):
    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {"exact": 100 * super().score(examples, predictions)["exact"]}


BROKEN += [
    (check_examples_keep_the_contract, AnswersAText),
    (check_primary_is_scored, ScoresInPercent),
    (partial(check_model_knows_the_words, suite=MICRO), Shades),  # micro does not know "dark" and "white"
]


@pytest.mark.slow
@pytest.mark.parametrize(("check", "plugin"), [pytest.param(*pair, id=pair[1].__name__) for pair in BROKEN])
def test_a_check_catches_the_task_that_breaks_its_rule(check: Any, plugin: type[Task]) -> None:
    with pytest.raises(PluginError, match=r"\."):
        check(plugin)


@pytest.mark.slow
def test_a_task_that_keeps_every_rule_passes_every_check() -> None:
    for check in checks_in(tasks):
        check(Shades)


def test_every_check_of_tasks_has_a_task_that_breaks_it() -> None:
    assert {getattr(check, "func", check) for check, _ in BROKEN} == set(checks_in(tasks))


def test_a_check_in_a_terminal_knows_the_words_of_the_suite_that_was_named() -> None:
    (known,) = [check for check in checks(Shades, Tasks(), MICRO) if check.__name__ == "check_model_knows_the_words"]

    with pytest.raises(PluginError, match=r"2 of 4 answers and .* unknown to the base model of micro: dark, white"):
        known(Shades)
