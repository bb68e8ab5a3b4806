"""The result of reading a split: its files, its records, and its broken records."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench import DataError, Example, Fault

from .rows import Row

_SLOT = "<image>"


@dataclass(frozen=True, slots=True)
class Record:
    """An example, whose image may be missing or broken, and the row that it comes from."""

    example: Example
    row: Row


@dataclass(slots=True)
class Intake:
    """One reading of one split of a task; it records and skips up to ``allowed`` broken records.

    ``read`` counts the records of each file, broken or not.
    """

    task: str
    allowed: int
    faults: list[Fault] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    read: Counter[Path] = field(default_factory=Counter)

    def summary(self) -> str:
        """Return how many records were read from which files, how many are broken, and the first three reasons."""
        if not self.read:
            return f"No record was found in {' or '.join(map(str, self.files))}."
        found = ", ".join(f"{count:,} from {path}" for path, count in self.read.items())
        if not self.faults:
            return f"Records read: {found}. None is broken; the split needs more records."
        reasons = "; ".join(map(str, self.faults[:3]))
        return f"Records read: {found}. Broken: {len(self.faults):,}. The first reasons: {reasons}."

    def file(self, *places: Path) -> Path:
        """Return the first of the places that is a file.

        Raises:
            DataError: none of the places is a file, or this user may not read it.
        """
        for path in places:
            if path.is_file():
                if not os.access(path, os.R_OK):
                    raise DataError(f"{self.task}: {path} cannot be read: permission denied. Let this user read it.")
                if path not in self.files:
                    self.files.append(path)
                return path
        raise DataError(
            f"{self.task}: {places[0]} is missing. Get it with: bench data get {self.task}; "
            "or name the folder of the data with --data."
        )

    def refuse(self, place: str, reason: str) -> None:
        """Record the broken record at ``place``; the caller skips the record.

        Raises:
            DataError: ``allowed`` records are already skipped.
        """
        fault = Fault(place, reason)
        if len(self.faults) == self.allowed:
            raise DataError(
                f"{self.task}: {fault}. That is broken record {len(self.faults) + 1}, and {self.allowed} may be "
                "skipped: repair it, or allow more with --skip-bad."
            )
        self.faults.append(fault)

    def index(self, rows: Iterable[Row], name: str) -> dict[str, Row]:
        """Return the first row of each id in the field ``name``; a row without an id is a fault.

        Raises:
            DataError: more than ``allowed`` records are broken.
        """
        found: dict[str, Row] = {}
        for row in rows:
            try:
                found.setdefault(row.label(name), row)
            except DataError as error:
                self.refuse(row.place, str(error))
        return found

    def records(self, rows: Iterable[Row], make: Callable[[Row], Iterable[Example]]) -> list[Record]:
        """Convert each row with ``make``; a row for which it raises DataError is recorded as a fault.

        A row that repeats an id, or holds the slot of a picture, is a fault too.

        Raises:
            DataError: more than ``allowed`` records are broken.
        """
        found: list[Record] = []
        known: dict[str, Row] = {}
        for row in rows:
            self.read[row.file] += 1
            try:
                made = list(make(row))
            except DataError as error:
                self.refuse(row.place, str(error))
                continue
            for example in made:
                if any(_SLOT in text for text in (example.question, *example.answers, *example.hints)):
                    self.refuse(row.place, f"it holds {_SLOT}, which marks the place of the picture in a prompt")
                    continue
                if example.id in known:
                    self.refuse(row.place, f"the id {example.id} is that of {known[example.id].place} too")
                    continue
                known[example.id] = row
                found.append(Record(example, row))
        return found
