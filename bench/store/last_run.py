"""Save and read the last run of a run folder: its command line, and the options that select cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.store.json_note import read_note, write_note
from bench.store.run_folder import Store

_FILE = "command.json"


@dataclass(frozen=True, slots=True)
class Last:
    """A command line and its selection: the values of options by name, as JSON stores them."""

    command: str
    selection: Mapping[str, Any]


def save(store: Store, last: Last) -> None:
    """Save a run as the last run of its run folder."""
    write_note(store.root / _FILE, {"command": last.command, "selection": dict(last.selection)})


def read(store: Store) -> Last | None:
    """Return the last run of a run folder, or None if there was no run.

    Raises:
        StoreError: the file is damaged.
    """
    return read_note(
        store.root / _FILE,
        lambda data: Last(data["command"], dict(data["selection"])),
        "{path} is damaged ({error}). Delete it and run bench run again.",
    )


def needed(store: Store, output: Path) -> Last:
    """Return the last run of a run folder, which must have had one.

    Raises:
        UsageError: there was no run.
    """
    last = read(store)
    if last is None:
        raise UsageError(f"{output} has no run yet. Start one: bench run --output {output}")
    return last
