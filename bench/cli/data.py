"""``bench data``: download, check or describe the data of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os.path import expanduser
from pathlib import Path

from bench.cli.arguments import Command, arg, flag, word
from bench.cli.options import Plugins, TaskData
from bench.cli.request import read_data, task_names
from bench.console import agreed, say, tell, warn
from bench.errors import DataError, UsageError, WriteError
from bench.model.checkpoints import resolve
from bench.plan.suite import LORASCULPT
from bench.plugins.task import Task
from bench.plugins.tasks import Tasks
from bench.prepare.data import check as looking
from bench.prepare.data import checksums, hub
from bench.prepare.data import get as fetching
from bench.prepare.data import info as card
from bench.prepare.data.report import DataReport
from bench.store.drafts import replace_file
from bench.store.places import local_path
from bench.trial.tokens import Tokens

_REPORT = "check.json"
_EVERY = 1 << 62  # skip any number of broken records, so that a check can report them all


@dataclass(frozen=True, kw_only=True)
class InfoOptions(Plugins, TaskData, Command):
    """The options of ``bench data info``."""

    tasks: str = word("names of tasks, or all", "TASK,…")

    def read(self, skip_bad: int = 0) -> tuple[Tasks, tuple[str, ...]]:
        """Return the tasks and their options, and the names that the command lists."""
        found = read_data(self, skip_bad, self.plugin)
        names = task_names(self.tasks, (*LORASCULPT.targets, *LORASCULPT.sources), found.registry, "TASK,…")
        for name in names:
            found.load(name)  # a task refuses options that exclude each other
        return found, names


@dataclass(frozen=True, kw_only=True)
class GetOptions(InfoOptions):
    """The options of ``bench data get``."""

    origin: str = arg(
        "files",
        "files: the official files (default); hub: the Hugging Face hub",
        name="--from",
        choices=("files", "hub"),
    )
    yes: bool = flag("do not ask for confirmation")


@dataclass(frozen=True, kw_only=True)
class DataCheckOptions(InfoOptions):
    """The options of ``bench data check``."""

    skip_bad: int = arg(0, "tolerate up to N broken records per split (default: 0)", "N", least=0)
    model: str | None = arg(
        None,
        "check the texts with the tokenizer of this LLaVA checkpoint (default: that of the suite lorasculpt, if it is "
        "on this machine)",
        "DIR|ID",
        type=expanduser,
    )
    report: Path | None = arg(
        None, "write the whole report to this file (default: check.json in --data)", "FILE.json", type=local_path
    )


def get(options: GetOptions) -> int:
    """Download the files that are missing."""
    read, names = options.read()
    tasks = [read.load(name) for name in names]
    for task in tasks:
        if task.card is None:
            raise UsageError(f"{task.name} needs no download. Its data come with its package.")
    root = tasks[0].reading.root
    with checksums.held(root):
        if options.origin == "hub":
            return hub.get(_from_hub(options, tasks), root, yes=options.yes)
        return _files(root, tasks, yes=options.yes)


def _from_hub(options: GetOptions, tasks: Sequence[Task]) -> list[Task]:
    """Return the same tasks, with ``source=hub`` set."""
    for task in tasks:
        hub.address(task)
    sources = [f"{task.name}.source=hub" for task in tasks]
    read, names = replace(options, set=(*options.set, *sources)).read()
    return [read.load(name) for name in names]


def check(options: DataCheckOptions) -> int:
    """Check all records and images, and print what is wrong."""
    read, names = options.read(options.skip_bad)
    every = Tasks(read.registry, replace(read.reading, skip_bad=_EVERY), read.settings)
    tasks = list({task.name: task for task in map(every.load, names)}.values())
    report = looking.check(tasks, options.skip_bad, _tokens(options.model), LORASCULPT.recipe.max_length)
    tell(report.lines())
    root = tasks[0].reading.root
    if options.report is not None or root.is_dir():  # do not create --data: its name may be a typing error
        _write(report, options.report or root / _REPORT)
    tell([report.verdict()])
    return 1 if report.wrong else 0


def _tokens(model: str | None) -> Tokens | None:
    """Return how a model reads texts, with the template of the suite lorasculpt; None if no model is here.

    Raises:
        UsageError: the named model is not on this machine.
    """
    if model is None and not LORASCULPT.here():
        say(f"No tokenizer reads the texts, because {LORASCULPT.model} is not on this machine. Name one with --model.")
        return None
    return Tokens.of_checkpoint(resolve(model or LORASCULPT.model), LORASCULPT.recipe)


def _write(report: DataReport, path: Path) -> None:
    try:
        replace_file(path, report.as_json())
        say(f"wrote {path}")
    except WriteError as error:
        warn(f"The report was not written. {error.reason} Name another file with --report.")


def info(options: InfoOptions) -> int:
    """Print the card of each task."""
    read, names = options.read()
    for place, name in enumerate(names):
        tell([*([""] if place else []), *card.lines(read, name)])
    return 0


def _files(root: Path, tasks: Sequence[Task], *, yes: bool) -> int:
    made = fetching.bill(root, [download for task in tasks if task.card for download in task.card.downloads])
    tell(fetching.lines(made, root))
    fetching.check_space(root, made.space)
    if made.items and not yes and not agreed("Download? [y/N] "):
        warn("Nothing was downloaded. Add --yes to skip the question.")
        return 1
    failed = bool(made.by_hand)
    for item in made.items:
        try:
            fetching.bring(root, item)
        except DataError as error:
            warn(f"{error}")
            failed = True
    for task in tasks:
        try:
            failed |= fetching.bring_pictures(root, task, yes=yes)
        except DataError as error:
            warn(f"{task.name}'s images: {error}")
            failed = True
    say(
        "Some files are missing. Run the same command again to resume."
        if failed
        else "All files are here. Check them with bench data check."
    )
    return 1 if failed else 0
