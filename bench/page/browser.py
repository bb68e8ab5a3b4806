"""Make the browser of forgetting: its section, the scripts that it loads, and the pictures of its examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.page import changed
from bench.page.page import Page, Section, room_in
from bench.page.room import fitted, list_size
from bench.page.rows import PageRows
from bench.page.thumbnails import Budget, thumbnails
from bench.plan.request import Request
from bench.text import shareable_reason

PICTURE_BYTES = 2_500_000  # for all pictures of a page
_LISTS = 0.6  # of the room that a page leaves; pictures take what lists leave
_OWN, _OWN_OF_TASK = 4_000, 1_500  # bytes of the section itself


@dataclass(frozen=True, slots=True)
class Browser:
    """The section of a browser, its scripts by name, and its pictures by the name of the file."""

    section: Section
    data: Mapping[str, object]
    pictures: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Words:
    """What a browser is called, what it says, and what a filter calls the place of a change."""

    title: str
    says: str
    place: str


OF_RUNS = Words(
    "Forgotten and learnt examples", "Examples whose score differs by at least 0.5 from the base model's", "Target"
)
OF_SEQUENCES = Words(
    "Forgotten examples of earlier tasks",
    "Examples of a task whose score differs by at least 0.5 between the stage that learnt the task and the last stage, "
    "and examples of sources whose score differs so from the base model's",
    "Order",
)


def with_browser(
    page: Page, after: str, request: Request, tasks: Sequence[changed.ChangedTask], rows: PageRows, words: Words
) -> Page:
    """Return a page with the browser of some tasks after a section; the browser takes the room that the page leaves."""
    found = browser(request, tasks, rows, words, room_in(page))
    at = [section.anchor for section in page.sections].index(after) + 1
    sections = [*page.sections[:at], found.section, *page.sections[at:]]
    return replace(page, sections=sections, data=found.data, pictures=found.pictures)


def browser(request: Request, tasks: Sequence[changed.ChangedTask], rows: PageRows, words: Words, room: int) -> Browser:
    """Return the browser of some tasks in at most ``room`` bytes, which its lists share, and its pictures."""
    room -= _OWN + _OWN_OF_TASK * len(tasks)
    tasks = fitted(tasks, int(_LISTS * room))
    left = min(PICTURE_BYTES, room - sum(map(list_size, tasks)))
    copied = sum(request.tasks.load(task.task).pictures_may_be_copied for task in tasks)
    remarks = []
    data: dict[str, object] = {}
    pictures: dict[str, bytes] = {}
    for number, task in enumerate(tasks):
        of = request.tasks.load(task.task)
        budget = Budget(left // max(copied, 1))
        wanted = (item.example["id"] for item in task.examples)
        names, files, remark = thumbnails(of, request.split, wanted, budget, f"{number}-")
        left -= sum(map(len, files.values()))
        copied -= of.pictures_may_be_copied
        data[f"changed-{number}"] = changed.as_json(task, names)
        pictures |= files
        remarks += [shareable_reason(text) for text in (task.remark(rows), remark) if text]
    places = dict.fromkeys(change.place for task in tasks for item in task.examples for change in item.changes)
    values = {"tasks": tasks, "remarks": remarks, "says": words.says, "place": words.place, "places": tuple(places)}
    return Browser(Section("forgotten", words.title, "forgotten.html", values), data, pictures)
