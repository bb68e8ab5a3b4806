"""Store the scores of a trial: a file of examples per score, and the predictions of unfinished scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import StoreError, WriteError, unreadable
from bench.store import places
from bench.store.drafts import replace_file
from bench.store.numbers import FILE, Numbers, read_numbers, write_numbers
from bench.store.unfinished import Partial
from bench.values.scores import Score


@dataclass(frozen=True, slots=True)
class StoredScores:
    """The scores in a trial's folder."""

    folder: Path

    def write(self, key: str, rows: Sequence[Mapping[str, Any]]) -> str:
        """Write the examples of one score, one JSON line each, and return the file's path in ``folder``."""
        name = _name(key)
        path = self.folder / name
        places.make(path.parent)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        replace_file(path, text)
        if (numbers := Numbers.of(rows, len(text))) is not None:
            write_numbers(path.parent, {**self._valid(), key: numbers})
        return name

    def read(self, score: Score) -> list[dict[str, Any]]:
        """Return the examples of one score.

        Raises:
            StoreError: the file is missing or damaged, or cannot be read.
        """
        path = self.folder / score.file
        try:
            rows: list[dict[str, Any]] = json.loads(f"[{','.join(path.read_text(encoding='utf-8').splitlines())}]")
        except (FileNotFoundError, ValueError) as error:
            raise StoreError(
                f"{path} is missing or damaged ({error}). Delete {path.parent.parent} and run again."
            ) from error
        except OSError as error:
            raise StoreError(unreadable(path, error)) from error
        if len(rows) != score.asked.count:
            raise StoreError(
                f"{path} has {len(rows)} of {score.asked.count} examples. Delete the trial's folder and run again."
            )
        return rows

    def numbers(self, scores: Iterable[Score]) -> dict[str, Numbers]:
        """Return the numbers of some scores by score key, from the binary file if it is whole and not outdated.

        What the file lacks is read from the examples, and the file is written again if the run folder takes it.

        Raises:
            StoreError: a file of examples is missing or damaged.
        """
        valid, made = self._valid(), dict[str, Numbers]()
        found = dict[str, Numbers]()
        for score in scores:
            key, item = score.asked.key, valid.get(score.asked.key)
            if item is None or item.count != score.asked.count:
                item = made[key] = self._counted(score)
            found[key] = item
        if made and not places.is_remote(self.folder):
            with suppress(OSError, WriteError):  # a table can be read from a folder that takes no file
                write_numbers(self.folder / "scores", {**valid, **made})
        return found

    def _valid(self) -> dict[str, Numbers]:
        """Return the stored numbers by score key, except those whose examples have changed since they were written.

        At a URL this is not asked: it takes as long as reading, and only bench writes there.
        """
        folder = self.folder / "scores"
        written = _modified(folder / FILE)  # first: if another process writes the file now, its scores are read again
        stored = read_numbers(folder)
        if places.is_remote(folder):
            return stored
        return {key: item for key, item in stored.items() if self._unchanged(key, item, written)}

    def _unchanged(self, key: str, item: Numbers, written: int) -> bool:
        try:
            facts = (self.folder / _name(key)).stat()
        except OSError:
            return False
        return facts.st_size == item.size and facts.st_mtime_ns <= written

    def _counted(self, score: Score) -> Numbers:
        path = self.folder / score.file
        numbers = Numbers.of(self.read(score), 0 if places.is_remote(path) else path.stat().st_size)
        if numbers is None:
            raise StoreError(f"{path} has an example without its scores. Delete the trial's folder and run again.")
        return numbers

    def partial(self, key: str, environment: Mapping[str, str], rank: int, watch: Callable[[int], None]) -> Partial:
        """Return the predictions of an unfinished score; a worker adds to them until ``write``."""
        return Partial(self.folder / _name(key), environment, rank, watch)


def _name(key: str) -> str:
    return f"scores/{key}.jsonl"


def _modified(path: Path) -> int:
    """Return when a local file was written, in ns since 1970; 0 if it does not exist."""
    try:
        return 0 if places.is_remote(path) else path.stat().st_mtime_ns
    except OSError:
        return 0
