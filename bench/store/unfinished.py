"""Store the predictions of an unfinished score batch by batch, so that a killed evaluation can resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.store.disk_errors import writing
from bench.store.drafts import replace_file
from bench.store.places import is_remote

MARK = ".part-"  # scores/<key>.part-<rank>.jsonl


@dataclass(eq=False)
class Partial:
    """The predictions of one score, by the example's place in its split, from all attempts.

    Every worker of a trial appends one line of JSON per batch to its own file next to ``scores``, and reads the files
    of all workers. At a URL, which cannot append, every batch is an object of its own. The first line of a file is
    ``environment``. Predictions that were generated with other versions, in another precision or in other batches are
    not mixed in; they are generated again, and so are those of a damaged line. ``watch`` receives the number of
    predictions. ``smaller`` holds the sizes of the batches that had to be made smaller to fit in memory.
    """

    scores: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    rank: int = 0
    watch: Callable[[int], None] = lambda count: None
    predictions: dict[int, str] = field(default_factory=dict, init=False)
    seconds: float = field(default=0.0, init=False)  # the time that earlier attempts took
    smaller: set[int] = field(default_factory=set, init=False)
    _is_open: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        took: dict[str, float] = {}
        for path in self._paths():
            worker = path.name.split(MARK)[-1].split(".")[0].split("-")[0]
            for seconds, predictions in self._batches(path):
                took[worker] = took.get(worker, 0.0) + seconds
                self.predictions |= predictions
        self.seconds = max(took.values(), default=0.0)  # workers run at the same time
        self.watch(len(self.predictions))

    @property
    def smallest(self) -> list[int]:
        """The size of the smallest batch that was made smaller to fit in memory, or an empty list."""
        return sorted(self.smaller)[:1]

    def keep(self, predictions: Mapping[int, str], seconds: float, smaller: Collection[int] = ()) -> None:
        """Append a batch's predictions and seconds; ``smaller`` are the sizes of its parts if it was split."""
        self.smaller |= set(smaller)
        parts = {"smaller": sorted(smaller)} if smaller else {}
        line = json.dumps({"seconds": seconds, "predictions": dict(predictions), **parts}) + "\n"
        if is_remote(self.scores):
            place = self._own.with_name(f"{self._own.stem}-{uuid4().hex[:12]}.jsonl")
            replace_file(place, self._head + line)
        else:
            if not self._is_open:
                self._open()
            with writing(self._own), self._own.open("a", encoding="utf-8") as file:
                file.write(line)
        self.predictions |= predictions
        self.watch(len(self.predictions))

    def remove(self) -> None:
        """Delete the files of all workers."""
        for path in self._paths():
            path.unlink(missing_ok=True)

    @property
    def _head(self) -> str:
        return json.dumps({"environment": dict(self.environment)}) + "\n"

    @property
    def _own(self) -> Path:
        return self.scores.with_name(f"{self.scores.stem}{MARK}{self.rank}.jsonl")

    def _paths(self) -> list[Path]:
        return sorted(self.scores.parent.glob(f"{self.scores.stem}{MARK}*.jsonl"))

    def _open(self) -> None:
        """Start this worker's file, or end a line that a killed worker left incomplete."""
        self._is_open = True
        lines = _lines(self._own)
        if not lines or not self._is_of_this(lines[0]):
            replace_file(self._own, self._head)
        elif not self._own.read_bytes().endswith(b"\n"):
            with writing(self._own), self._own.open("a", encoding="utf-8") as file:
                file.write("\n")

    def _is_of_this(self, line: object) -> bool:
        return isinstance(line, dict) and line.get("environment") == dict(self.environment)

    def _batches(self, path: Path) -> Iterator[tuple[float, dict[int, str]]]:
        lines = _lines(path)
        if not lines or not self._is_of_this(lines[0]):
            return
        for line in lines[1:]:
            try:
                self.smaller |= set(line.get("smaller", ()))
                yield float(line["seconds"]), {int(place): str(text) for place, text in line["predictions"].items()}
            except (TypeError, KeyError, ValueError, AttributeError):
                continue


def _lines(path: Path) -> list[Any]:
    """Return the lines of a file as JSON, with None for a damaged line."""
    if not path.is_file():
        return []
    found: list[Any] = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            found.append(json.loads(line))
        except ValueError:
            found.append(None)
    return found
