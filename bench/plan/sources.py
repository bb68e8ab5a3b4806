"""Check the training examples of sources, which only a method that overrides ``mix`` needs."""

from __future__ import annotations

from bench.errors import DataError, PluginError, UsageError, first_line
from bench.plan.fingerprint import once_a_task
from bench.plugins.examples import read_examples
from bench.plugins.task import Task


def check_source(task: Task, source: str, method: str) -> None:
    """Refuse a source without training examples, because a method trains on them.

    Raises:
        UsageError: the source has no training examples.
        DataError: the files of the training split cannot be read.
    """
    reason = _empty(task)
    if reason is not None:
        raise UsageError(
            f"{method} trains on examples of every source, but {source} has no training examples.{reason} "
            f"Leave {source} out of --sources, or drop {method}."
        )


@once_a_task
def source_fault(task: Task, source: str, method: str) -> str:
    """Return why a method cannot train on examples of a source, or nothing."""
    try:
        check_source(task, source, method)
    except (UsageError, DataError) as error:
        return first_line(error)
    return ""


@once_a_task
def _empty(task: Task) -> str | None:
    """Return the reason for which a task has no training examples, which may be "", or None if it has some."""
    try:
        return None if read_examples(task, "train") else ""
    except PluginError as error:
        return f" {error}"
