"""What a search found out about one method, rank and target: every configuration, and what was chosen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from bench.spec import Scalar
from bench.store.json_note import read_note

FILE = "search.json"
FOLDER = "search"


@dataclass(frozen=True, slots=True)
class Configuration:
    """One try: ``state`` is done, failed, stopped or running; scores are fractions, on validation.

    ``trials`` are the ids of the trials that were trained or edited for it, one a seed.
    """

    number: int
    hyper: Mapping[str, Scalar]
    state: str
    source: float | None
    target: float | None
    trials: tuple[str, ...] = ()

    @property
    def avg(self) -> float | None:
        """(Source + Target) / 2; None where there are no scores."""
        return None if self.source is None or self.target is None else (self.source + self.target) / 2


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A quest's end. ``space`` says in words what was searched; ``facts`` is its row in the run's search.json."""

    label: str
    command: str
    space: Mapping[str, str]
    facts: Mapping[str, Any]
    configurations: tuple[Configuration, ...]

    @property
    def chosen(self) -> int | None:
        """The number of the configuration that was chosen."""
        return _number(self.facts["chosen"])

    @property
    def default(self) -> int | None:
        """The number of the method's defaults, where they were tried and gave scores."""
        return _number(self.facts["default"])

    def count(self, state: str) -> int:
        """Return how many configurations ended so."""
        return sum(item.state == state for item in self.configurations)

    def text(self) -> str:
        """Return all of it as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return what a search has written, or None if there is no file.

        Raises:
            StoreError: the file is damaged.
        """
        return read_note(path, cls._from_json, "{path} is damaged ({error}). Delete it and run bench search again.")

    @classmethod
    def _from_json(cls, data: dict[str, Any]) -> Self:
        rows = [Configuration(**{**row, "trials": tuple(row["trials"])}) for row in data.pop("configurations")]
        return cls(**data, configurations=tuple(rows))


def findings(root: Path) -> Iterator[tuple[SearchResult, Path]]:
    """Yield what the searches in a run folder found, each with its folder."""
    for path in sorted((root / FOLDER).glob(f"*/{FILE}")):
        if (found := SearchResult.read(path)) is not None:
            yield found, path.parent


def _number(told: Mapping[str, Any] | None) -> int | None:
    return None if told is None else int(told["number"])
