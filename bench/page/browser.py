"""Make the browser of forgetting: its section, the scripts that it loads, and the pictures of its examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.page import changed
from bench.page.page import Section
from bench.page.rows import PageRows
from bench.page.thumbnails import Budget, thumbnails
from bench.plan.request import Request
from bench.text import shareable_reason

PICTURE_BYTES = 2_500_000  # for all pictures of a page
OF_RUNS = "Examples whose score differs by at least 0.5 from the base model's"
OF_SEQUENCES = (
    "Examples of a task whose score differs by at least 0.5 between the stage that learnt the task and the last stage, "
    "and examples of sources whose score differs so from the base model's"
)


@dataclass(frozen=True, slots=True)
class Browser:
    """The section of a browser, its scripts by name, and its pictures by the name of the file."""

    section: Section
    data: Mapping[str, object]
    pictures: Mapping[str, bytes]


def browser(
    request: Request, tasks: Sequence[changed.ChangedTask], rows: PageRows, says: str, place: str, title: str
) -> Browser:
    """Return the browser of some tasks. ``place`` is what a filter calls the place of a change: Target or Order."""
    budget, remarks = Budget(PICTURE_BYTES), []
    data: dict[str, object] = {}
    pictures: dict[str, bytes] = {}
    for number, task in enumerate(tasks):
        wanted = (item.example["id"] for item in task.examples)
        found = thumbnails(request.tasks.load(task.task), request.split, wanted, budget, f"{number}-")
        names, files, remark = found
        data[f"changed-{number}"] = changed.as_json(task, names)
        pictures |= files
        remarks += [shareable_reason(text) for text in (task.remark(rows), remark) if text]
    places = dict.fromkeys(change.place for task in tasks for item in task.examples for change in item.changes)
    values = {"tasks": tasks, "remarks": remarks, "says": says, "place": place, "places": tuple(places)}
    return Browser(Section("forgotten", title, "forgotten.html", values), data, pictures)
