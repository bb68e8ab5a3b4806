"""What is taken in while a split is read: its files, its records, and the records that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench import DataError, Example, Fault

from .rows import Row


@dataclass(frozen=True, slots=True)
class Record:
    """An example whose image has not been looked for yet, and the row it was made of."""

    example: Example
    row: Row


@dataclass(slots=True)
class Intake:
    """One reading of one split of a task; up to ``allowed`` broken records are noted and left out."""

    task: str
    allowed: int
    faults: list[Fault] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def file(self, *places: Path) -> Path:
        """Return the first of the places where the file is.

        Raises:
            DataError: it is nowhere.
        """
        for path in places:
            if path.is_file():
                if path not in self.files:
                    self.files.append(path)
                return path
        raise DataError(
            f"{self.task}: {places[0]} is missing. Get it with: bench data get {self.task}; "
            "or say with --data in which folder the data lie."
        )

    def refuse(self, place: str, reason: str) -> None:
        """Note a record that cannot be used.

        Raises:
            DataError: it is one more than may be skipped.
        """
        fault = Fault(place, reason)
        if len(self.faults) == self.allowed:
            raise DataError(
                f"{self.task}: {fault}. That is broken record {len(self.faults) + 1}, and {self.allowed} may be "
                "skipped: repair it, or allow more with --skip-bad."
            )
        self.faults.append(fault)

    def index(self, rows: Iterable[Row], name: str) -> dict[str, Row]:
        """Return rows by the id in one of their fields, the first of each; a row without is refused.

        Raises:
            DataError: more rows are refused than may be skipped.
        """
        found: dict[str, Row] = {}
        for row in rows:
            try:
                found.setdefault(row.label(name), row)
            except DataError as error:
                self.refuse(row.place, str(error))
        return found

    def records(self, rows: Iterable[Row], make: Callable[[Row], Iterable[Example]]) -> list[Record]:
        """Return what ``make`` makes of each row; a row of which it says why it cannot is refused.

        Raises:
            DataError: more rows are refused than may be skipped.
        """
        found: list[Record] = []
        known: dict[str, Row] = {}
        for row in rows:
            try:
                made = list(make(row))
            except DataError as error:
                self.refuse(row.place, str(error))
                continue
            for example in made:
                if example.id in known:
                    self.refuse(row.place, f"the id {example.id} is that of {known[example.id].place} too")
                    continue
                known[example.id] = row
                found.append(Record(example, row))
        return found
