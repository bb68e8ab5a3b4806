"""Store the scores of a trial: a file of examples per score, and the predictions of unfinished scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import StoreError
from bench.spec import Score
from bench.store import places
from bench.store.places import replace_file
from bench.store.unfinished import Partial


@dataclass(frozen=True, slots=True)
class StoredScores:
    """The scores in a trial's folder."""

    folder: Path

    def write(self, key: str, rows: Sequence[Mapping[str, Any]]) -> str:
        """Write the examples of one score, one JSON line each, and return the file's path in ``folder``."""
        name = _name(key)
        path = self.folder / name
        places.make(path.parent)
        replace_file(path, "".join(json.dumps(row) + "\n" for row in rows))
        return name

    def read(self, score: Score) -> list[dict[str, Any]]:
        """Return the examples of one score.

        Raises:
            StoreError: the file is missing or damaged.
        """
        path = self.folder / score.file
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, json.JSONDecodeError) as error:
            raise StoreError(f"{path} cannot be read ({error}). Delete {path.parent.parent} and run again.") from error
        if len(rows) != score.asked.count:
            raise StoreError(
                f"{path} has {len(rows)} of {score.asked.count} examples. Delete the trial's folder and run again."
            )
        return rows

    def partial(self, key: str, environment: Mapping[str, str], rank: int, watch: Callable[[int], None]) -> Partial:
        """Return the predictions of an unfinished score; a worker adds to them until ``write``."""
        return Partial(self.folder / _name(key), environment, rank, watch)


def _name(key: str) -> str:
    return f"scores/{key}.jsonl"
