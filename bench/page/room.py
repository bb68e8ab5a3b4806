"""Share the bytes that a page may have among the lists and the pictures of its tasks."""

from __future__ import annotations

from collections.abc import Sequence

from bench.page.changed import ChangedTask, as_json
from bench.page.page import data_size

_NAME = "00-00000.webp"  # as long as the name of a picture


def shares(sizes: Sequence[int], room: int) -> list[int]:
    """Return how many of so many bytes each may take: what is small stays whole, and the rest share equally.

    >>> shares([10, 500, 900], 610)
    [10, 300, 300]
    """
    found = [0] * len(sizes)
    for rank, number in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        found[number] = min(sizes[number], room // (len(sizes) - rank))
        room -= found[number]
    return found


def fitted(tasks: Sequence[ChangedTask], room: int) -> list[ChangedTask]:
    """Return tasks whose lists have fewer changes of each trial, so that all lists together fit into so many bytes."""
    allowed = shares([list_size(task) for task in tasks], max(room, 0))
    return [_fitted(task, share) for task, share in zip(tasks, allowed, strict=True)]


def list_size(task: ChangedTask) -> int:
    """Return the bytes of a task's list, if each of its examples has a picture."""
    return data_size(as_json(task, dict.fromkeys((item.example["id"] for item in task.examples), _NAME)))


def _fitted(task: ChangedTask, share: int) -> ChangedTask:
    while task.examples and (size := list_size(task)) > share:
        longest = task.longest
        task = task.shortened(min(longest - 1, longest * share // size))
    return task
