"""Check what a task returns: its examples and its scores. An error says what the rule wants, in one line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError, PluginError
from bench.plugins.faults import explained
from bench.plugins.task import Example, Split, Task


def _is_image(value: object) -> bool:
    from PIL.Image import Image

    return isinstance(value, Path | Image)


def _are_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(text, str) for text in value)


# What each field of an example must be. A later rule may rely on an earlier one.
_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("id", lambda value: isinstance(value, str) and value != "", "be a str that is not empty"),
    ("question", lambda value: isinstance(value, str), "be a str"),
    ("answers", _are_texts, "be a tuple of str"),
    ("answers", lambda value: len(value) > 0, "have at least one answer"),
    ("answers", lambda value: value[0].strip() != "", "begin with the answer to teach, which is not empty"),
    ("image", _is_image, "be a PIL.Image or a pathlib.Path"),
    ("hints", _are_texts, "be a tuple of str"),
)
_ROUNDING = 1e-6  # how far rounding may carry a score beyond its range


def read_examples(task: Task, split: Split) -> Sequence[Example]:
    """Return a split's examples after checking every one of them, except its image's pixels.

    Raises:
        PluginError: the split is missing, the task fails, or an example breaks the contract.
        BenchError: the task's own error, such as that its files are missing.
    """
    try:
        examples = task.examples(split)
    except BenchError:
        raise
    except Exception as error:
        if isinstance(error, KeyError) and error.args == (split,):
            raise PluginError(
                f"The task {task.name} has no {split} split: examples({split!r}) raises KeyError. "
                "Return examples for train, validation and test."
            ) from error
        reason = explained(error, type(task)).rstrip(".")
        raise PluginError(f"The task {task.name} gives no {split} examples: {reason}. Mend the task.") from error
    if not (hasattr(examples, "__len__") and hasattr(examples, "__getitem__")):
        raise PluginError(f"The task {task.name} returns {_kind(examples)} for {split}. Return a list of examples.")
    seen: set[str] = set()
    for number, example in enumerate(examples):
        if fault := _fault(example, seen):
            where = repr(example.id) if isinstance(getattr(example, "id", None), str) else str(number)
            raise PluginError(f"The task {task.name}: {fault}; example {where} of {split} {_has(fault, example)}.")
        seen.add(example.id)
    return examples


def spread(examples: Sequence[Example], count: int) -> list[Example]:
    """Return at most ``count`` examples, evenly spread."""
    step = max(1.0, len(examples) / count)
    return [examples[int(number * step)] for number in range(min(len(examples), count))]


def _fault(example: Example, seen: Collection[str]) -> str:
    """Return the first rule that an example breaks, or ""; the first word of a rule names the field."""
    if not isinstance(example, Example):
        return "examples must be of the class bench.Example"
    for field, keeps, rule in _RULES:
        if not keeps(getattr(example, field)):
            return f"{field} must {rule}"
    return "id must be unique in its split" if example.id in seen else ""


def _has(fault: str, example: Example) -> str:
    """Return what an example has instead of what a rule wants."""
    field = fault.partition(" ")[0]
    value = example if field == "examples" else getattr(example, field)
    if field == "id" and isinstance(value, str) and value:
        return "repeats it"
    text = repr(value)
    return f"has {text}" if field != "image" and len(text) <= 80 else f"has {_kind(value)}"


def _kind(value: object) -> str:
    return f"a {type(value).__module__}.{type(value).__qualname__}".replace("a builtins.", "a ")


def check_scores(task: Task, scores: Mapping[str, np.ndarray], count: int) -> None:
    """Check that a task scored ``count`` examples as its contract says.

    Raises:
        PluginError: the primary metric is missing, or a metric does not have one number in its range per example.
    """
    if task.metric not in scores:
        raise PluginError(
            f"The task {task.name} scores {', '.join(scores)}, but not its primary metric {task.metric!r}. Add it."
        )
    for name, values in scores.items():
        if np.shape(values) != (count,) or not np.isfinite(values).all():
            raise PluginError(
                f"The task {task.name} returns {name} with shape {np.shape(values)}, or with values that are not "
                f"finite. Return one finite number per example: [{count}]."
            )
        highest = task.highest.get(name, 1.0)
        wrong = [value for value in values if not -_ROUNDING <= value <= highest + _ROUNDING]
        if wrong:
            raise PluginError(
                f"The task {task.name} scores {name} {float(wrong[0]):g}, outside 0 to {highest:g}. Return fractions; "
                f"if {name} may be higher, say how high: highest = {{{name!r}: …}}."
            )
