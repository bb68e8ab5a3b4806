"""Read the training examples of sources, which only a method that overrides ``mix`` needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.errors import DataError, PluginError, UsageError, first_line
from bench.plugins.examples import read_examples
from bench.plugins.task import Example, Task
from bench.plugins.tasks import Tasks


def source_examples(task: Task, source: str, method: str) -> Sequence[Example]:
    """Return the training examples of a source, on which a method trains.

    Raises:
        UsageError: the source has no training examples.
        DataError: the files of the training split cannot be read.
    """
    reason = ""
    try:
        if examples := read_examples(task, "train"):
            return examples
    except PluginError as error:
        reason = f" {error}"
    raise UsageError(
        f"{method} trains on examples of every source, but {source} has no training examples.{reason} "
        f"Leave {source} out of --sources, or drop {method}."
    )


def untaught(tasks: Tasks, sources: Iterable[str], method: str) -> str:
    """Return why a method cannot train on examples of the sources, or nothing."""
    for name in sources:
        try:
            source_examples(tasks.load(name), name, method)
        except (UsageError, DataError) as error:
            return first_line(error)
    return ""
