"""Checks of tasks: ids on at most 20,000 examples per split, images on 2,000, all else on 200."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bench.console import say
from bench.errors import PluginError
from bench.plan.fingerprint import of_image
from bench.plan.suite import Suite
from bench.plan.task_fingerprint import SAMPLE, fingerprint_elsewhere, fingerprint_of
from bench.plan.words import unknown_words
from bench.plugins.examples import check_scores, read_examples, spread
from bench.plugins.task import SPLITS, Example, Split, Task
from bench.plugins.tasks import Tasks

_IDS = 20_000  # examples of each split whose ids are compared
_IMAGES = 2_000  # examples of each split whose images are compared

Plugin = type[Task]


def check_examples_keep_the_contract(plugin: Plugin, tasks: Tasks | None = None) -> None:
    """Every split has examples, with the right types of id, question, answers and image."""
    task = (tasks or Tasks()).new(plugin)
    for split in SPLITS:
        if not len(read_examples(task, split)):
            raise PluginError(f"The {split} split of {task.name} is empty. Every task needs {', '.join(SPLITS)}.")


def check_splits_are_disjoint(plugin: Plugin, tasks: Tasks | None = None) -> None:
    """All ids are unique, and no image is in two splits."""
    task = (tasks or Tasks()).new(plugin)
    ids: dict[str, Split] = {}
    images: dict[bytes, Split] = {}
    for split in SPLITS:
        examples = read_examples(task, split)
        for example in spread(examples, _IDS):
            if example.id in ids:
                raise PluginError(f"The id {example.id!r} of {split} is also in {ids[example.id]}. Make ids unique.")
            ids[example.id] = split
        for example in spread(examples, _IMAGES):
            digest = of_image(example)
            if images.setdefault(digest, split) != split:
                raise PluginError(
                    f"The image of {split} example {example.id!r} is also in {images[digest]}. "
                    "Split by image, and leave duplicates out."
                )


def check_examples_are_stable(plugin: Plugin, tasks: Tasks | None = None) -> None:
    """Two reads give the same fingerprint, in this process and in one with another hash seed."""
    first = fingerprint_of(plugin, tasks)
    if fingerprint_of(plugin, tasks) != first:
        raise PluginError(f"Two reads of {plugin.name} differ. Seed every draw, and return examples in one order.")
    if fingerprint_elsewhere(plugin, tasks) != first:
        raise PluginError(
            f"Another process reads other examples of {plugin.name}. Sort what comes from sets and folders, "
            "and do not seed a generator with hash()."
        )


def check_own_answer_scores_best(plugin: Plugin, tasks: Tasks | None = None) -> None:
    """On average an example's own answer scores more than a shuffled answer and the empty string."""
    task = (tasks or Tasks()).new(plugin)
    examples = spread(read_examples(task, "test"), SAMPLE)
    own = [example.answers[0] for example in examples]
    order = np.random.default_rng(0).permutation(len(own))
    best = _mean(task, examples, own)
    for what, predictions in (
        ("others' answers", [own[place] for place in order]),
        ("nothing", [""] * len(own)),
    ):
        other = _mean(task, examples, predictions)
        if not best > other:
            raise PluginError(
                f"The examples' own answers score {best:.3f} {task.metric}, {what} {other:.3f}. "
                "Make a higher score mean a better answer."
            )


def check_primary_is_scored(plugin: Plugin, tasks: Tasks | None = None) -> None:
    """``score`` returns ``primary``, and one number in its range per example, [n], for each metric."""
    task = (tasks or Tasks()).new(plugin)
    examples = spread(read_examples(task, "test"), SAMPLE)
    for predictions in (["no idea at all"] * len(examples), [example.answers[0] for example in examples]):
        check_scores(task, task.score(examples, predictions), len(examples))


def check_prompt_ignores_the_answers(plugin: Plugin, tasks: Tasks | None = None) -> None:
    """The prompt is a non-empty text that does not depend on the answers."""
    task = (tasks or Tasks()).new(plugin)
    for example in spread(read_examples(task, "test"), SAMPLE):
        prompt = task.prompt(example)
        if not isinstance(prompt, str) or not prompt.strip():
            raise PluginError(f"The prompt of {example.id!r} is {prompt!r}. Return the text that the model is asked.")
        for answers in (("something else",), (example.answers[0], "something else")):
            if task.prompt(replace(example, answers=answers)) != prompt:
                raise PluginError(
                    f"The prompt of {example.id!r} changes with its answers. "
                    "Put the options of a multiple-choice example into its question."
                )


def check_model_knows_the_words(plugin: Plugin, tasks: Tasks | None = None, suite: Suite | None = None) -> None:
    """The suite's base model can say every answer. Words of the prompts that it cannot read are printed.

    Without a suite, and if the base model is not on this machine, nothing is checked.
    """
    if suite is None or not suite.here():
        return
    if found := unknown_words(suite, (tasks or Tasks()).new(plugin), dict.fromkeys(SPLITS)):
        if found.answers:
            raise PluginError(f"{found.refusal} If the task is for another suite, name it with --suite.")
        say(str(found))


def _mean(task: Task, examples: Sequence[Example], predictions: Sequence[str]) -> float:
    scores: Mapping[str, np.ndarray] = task.score(examples, predictions)
    return float(np.mean(scores[task.metric]))
