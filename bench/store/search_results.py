"""Read and write what searches found: the result of each quest, and the choices of all quests of a run folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from bench.errors import UsageError
from bench.store.json_note import read_note, write_note
from bench.values.trial import Scalar

CHOICES = "search.json"  # in the run folder: what every quest chose
RESULT = "search.json"  # in the folder of a quest
FOLDER = "search"

_NO_CHOICES = "{path} is not a file that bench search writes ({error!r}). Delete it and search again."


@dataclass(frozen=True, slots=True)
class Configuration:
    """One configuration; its scores are fractions on validation.

    ``state`` is done, failed, stopped or running. ``trials`` are the ids of its trials, one per seed. ``step`` is the
    update after which it was stopped, if that is known, and ``reason`` is why it failed.
    """

    number: int
    hyper: Mapping[str, Scalar]
    state: str
    source: float | None
    target: float | None
    trials: tuple[str, ...] = ()
    step: int | None = None
    reason: str = ""

    @property
    def avg(self) -> float | None:
        """(Source + Target) / 2, or None if a score is missing."""
        return None if self.source is None or self.target is None else (self.source + self.target) / 2


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of a quest: ``space`` describes what was searched, ``facts`` is its row in search.json."""

    label: str
    command: str
    space: Mapping[str, str]
    facts: Mapping[str, Any]
    configurations: tuple[Configuration, ...]

    @property
    def chosen(self) -> int | None:
        """The number of the chosen configuration, or None if no configuration was chosen."""
        return _number(self.facts["chosen"])

    @property
    def order(self) -> tuple[str, ...]:
        """The tasks of a sequence in their order, or nothing for a search of a single target."""
        return tuple(self.facts.get("order", ()))

    @property
    def learnt(self) -> str:
        """What the quest learns as a reader sees it: the tasks of a sequence in their order, or the target."""
        return ", ".join(self.order) or str(self.facts["target"])

    @property
    def goal(self) -> str:
        """The name of the score of what is learnt: AP for a sequence, else Target."""
        return "AP" if self.order else "Target"

    @property
    def updates(self) -> int | None:
        """How many updates all configurations have without early stopping; None in a file of an earlier version."""
        each = self.facts.get("updates")
        return None if each is None else int(each) * len(self.configurations)

    @property
    def default(self) -> int | None:
        """The number of the configuration with the method's defaults, or None if it has no scores."""
        return _number(self.facts["default"])

    def count(self, state: str) -> int:
        """Return how many configurations are in this state."""
        return sum(item.state == state for item in self.configurations)

    def text(self) -> str:
        """Return the whole result as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the result in a file, or None if the file does not exist.

        Raises:
            StoreError: the file is damaged.
        """
        return read_note(path, cls._from_json, "{path} is damaged ({error}). Delete it and run bench search again.")

    @classmethod
    def _from_json(cls, data: dict[str, Any]) -> Self:
        rows = [Configuration(**{**row, "trials": tuple(row["trials"])}) for row in data.pop("configurations")]
        return cls(**data, configurations=tuple(rows))


def search_results(root: Path) -> Iterator[tuple[SearchResult, Path]]:
    """Yield the result of every quest in a run folder, with the folder of the quest."""
    for path in sorted((root / FOLDER).glob(f"*/{RESULT}")):
        if (found := SearchResult.read(path)) is not None:
            yield found, path.parent


def choices_file(path: Path) -> Path:
    """Return the file of choices that a path names: that of a run folder, or the file itself."""
    return path / CHOICES if path.is_dir() else path


def read_choices(file: Path) -> list[dict[str, Any]]:
    """Return what every quest of a file chose, or an empty list if the file does not exist.

    Raises:
        UsageError: the file is not one that bench search writes.
    """
    return read_note(file, _choices, _NO_CHOICES, UsageError) or []


def write_choices(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write what every quest of a run folder chose."""
    write_note(file, {"chosen": list(rows)})


def without_choice(file: Path) -> Mapping[str, str]:
    """Return the methods that a file has no choice for on purpose, each with the reason.

    Raises:
        UsageError: the file is not one that bench search writes.
    """
    return read_note(file, lambda data: dict(data.get("left_out", {})), _NO_CHOICES, UsageError) or {}


def _choices(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = data["chosen"]
    for row in rows:
        row["method"], row["rank"], row["target"], row["model"], row["recipe"], row["parent"]
        int(row["tried"]), list(row["sources"])
        if row["chosen"] is not None:
            dict(row["chosen"]["hyper"])
    return rows


def _number(told: Mapping[str, Any] | None) -> int | None:
    return None if told is None else int(told["number"])
