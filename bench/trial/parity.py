"""How far a model's answers depend on the way they are generated: batch size, precision, merged or not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from bench.spec import Trial
from bench.store import places
from bench.store.json_note import read_note
from bench.store.run_folder import Store
from bench.text import text_table

FILE = Path("checks") / "eval.json"


@dataclass(frozen=True, slots=True)
class Difference:
    """What one way to generate changes in one task's answers, against another.

    ``comparison`` names both ways; ``differ`` of ``count`` answers are other ones, and the primary metric's mean is
    higher by ``move``, a fraction.
    """

    comparison: str
    task: str
    count: int
    differ: int
    move: float


@dataclass(frozen=True, slots=True)
class Parity:
    """All differences found in the answers of a base model, or of a trial's change upon it.

    ``environment`` is that of the usual way: the recipe's precision, merged, ``eval_batch`` answers at once. ``notes``
    say what could not be compared.
    """

    label: str
    environment: Mapping[str, str]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read it back from JSON."""
        differences = tuple(Difference(**item) for item in data["differences"])
        return cls(data["label"], data["environment"], differences, tuple(data["notes"]))


def subject(trial: Trial) -> str:
    """Return the key of what a trial's answers are generated from: all zero-shot rows of a model share one."""
    return f"base-{trial.model}" if trial.rank is None else trial.id


def read(store: Store) -> dict[str, Parity]:
    """Return what a run folder has, by subject.

    Raises:
        StoreError: the file is damaged.
    """
    found = read_note(
        store.root / FILE,
        lambda data: {key: Parity.from_json(item) for key, item in data.items()},
        "{path} is damaged ({error}). Delete it, and run bench check eval again.",
    )
    return found or {}


def write(store: Store, key: str, parity: Parity) -> Path:
    """Put a subject's differences into the run folder, beside those of others, and return the file."""
    found = {name: asdict(item) for name, item in {**read(store), key: parity}.items()}
    path = store.root / FILE
    places.make(path.parent)
    places.replace_file(path, json.dumps(found, indent=1) + "\n")
    return path


def lines(parity: Parity) -> Iterator[str]:
    """Yield a table: a line per comparison, a column per task."""
    facts = parity.environment
    yield f"{parity.label}, scored in {facts['dtype']}, merged, {facts['eval_batch']} answers at once"
    yield "answers that differ between two ways to generate, and the metric of the first minus the second's, in points"
    comparisons = list(dict.fromkeys(item.comparison for item in parity.differences))
    columns = [["", *comparisons], *_columns(parity, comparisons)]
    yield from text_table(zip(*columns, strict=True), left=range(len(columns)))
    yield from parity.notes


def _columns(parity: Parity, comparisons: Sequence[str]) -> Iterator[list[str]]:
    """Yield each task's name and cells: 3/100 +0.50 is 3 of 100 answers that differ, and half a point more."""
    for task in dict.fromkeys(item.task for item in parity.differences):
        found = {item.comparison: item for item in parity.differences if item.task == task}
        counts = [f"{item.differ}/{item.count}" for item in map(found.__getitem__, comparisons)]
        moves = [f"{100 * item.move:+.2f}" if item.differ else "" for item in map(found.__getitem__, comparisons)]
        widths = [max(map(len, cells)) for cells in (counts, moves)]
        yield [task, *(f"{a:>{widths[0]}} {b:>{widths[1]}}" for a, b in zip(counts, moves, strict=True))]
