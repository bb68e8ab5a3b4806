"""``bench data``: get, check or describe the data of tasks."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from bench import registry, request
from bench.api import Task
from bench.console import agreed, say, tell
from bench.errors import DataError, UsageError
from bench.material import get as fetching
from bench.material import hub, ledger


def data(options: Namespace) -> int:
    """Do what the second word says with the tasks named."""
    names = request.read_tasks(options)
    tasks = [registry.load_task(name) for name in names]
    return {"get": get}[options.what](options, tasks)


def get(options: Namespace, tasks: Sequence[Task]) -> int:
    """Fetch what is not there."""
    for task in tasks:
        if task.card is None:
            raise UsageError(f"{task.name} needs nothing fetched: its data come with the package that brings it.")
    root = tasks[0].reading.root
    with ledger.held(root):
        if options.origin == "hub":
            return hub.get(tasks, root, yes=options.yes)
        return _files(root, tasks, yes=options.yes)


def _files(root: Path, tasks: Sequence[Task], *, yes: bool) -> int:
    made = fetching.bill(root, [download for task in tasks if task.card for download in task.card.downloads])
    tell(fetching.lines(made, root))
    fetching.check_space(root, made.space)
    if made.items and not yes and not agreed("Fetch? [y/N] "):
        say("Nothing was fetched; --yes does not ask.")
        return 1
    failed = bool(made.by_hand)
    for item in made.items:
        try:
            fetching.bring(root, item)
        except DataError as error:
            say(f"{error}")
            failed = True
    for task in tasks:
        try:
            failed |= fetching.bring_pictures(root, task)
        except DataError as error:
            say(f"{task.name}'s pictures: {error}")
            failed = True
    say(
        "Not all is there; the same command goes on."
        if failed
        else "All is there. Look through it with bench data check."
    )
    return 1 if failed else 0
