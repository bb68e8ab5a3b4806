"""The last run of a run folder: its command line, and the options that say which cells were meant."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.plugins import registry
from bench.store import selection
from bench.store.json_note import read_note
from bench.store.places import replace_file
from bench.store.run_folder import Store

_FILE = "command.json"


@dataclass(frozen=True, slots=True)
class Last:
    """A command line, and its selection: an option's value by its name."""

    command: str
    selection: dict[str, Any]

    @property
    def plugins(self) -> list[Path]:
        """The plugin files of the run."""
        return [Path(path) for path in self.selection["plugin"]]

    def reading(self) -> list[str]:
        """Return the options that say how tasks are read: the folder, what may be skipped, and the tasks' own."""
        data, skip_bad = self.selection["data"], self.selection["skip_bad"]
        tasks = registry.names("task")
        own = [item for item in self.selection["set"] if item.partition(".")[0].strip() in tasks]
        return [
            *(["--data", str(data)] if data else []),
            *(["--skip-bad", str(skip_bad)] if skip_bad else []),
            *(word for item in own for word in ("--set", item)),
        ]

    def options(self, options: Namespace) -> Namespace:
        """Return parsed options with the run's selection in place of their own."""
        return selection.restored(self.selection, options)


def line(options: Namespace) -> str:
    """Return a command as it was typed."""
    return " ".join(["bench", *options.words])


def save(store: Store, options: Namespace) -> None:
    """Note a run as the last one of its run folder."""
    data = {"command": line(options), "selection": selection.of(options)}
    replace_file(store.root / _FILE, json.dumps(data, indent=1) + "\n")


def read(store: Store) -> Last | None:
    """Return the last run of a run folder, or None where there was none.

    Raises:
        StoreError: the note is damaged.
    """
    return read_note(
        store.root / _FILE,
        lambda data: Last(data["command"], selection.whole(data["selection"])),
        "{path} is damaged ({error}). Delete it and run bench run again.",
    )


def needed(store: Store, output: Path) -> Last:
    """Return the last run of a run folder.

    Raises:
        UsageError: there was none.
    """
    last = read(store)
    if last is None:
        raise UsageError(f"{output} has no run yet. Start one: bench run --output {output}")
    return last


def command_of(store: Store, options: Namespace) -> str:
    """Return the command whose cells are shown: the last run's where it chose the same, else this one."""
    last = read(store)
    same = last is not None and last.selection == selection.of(options)
    return last.command if last is not None and same else line(options)
