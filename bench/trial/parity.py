"""Record and print how a model's answers change with batch size, precision and merging."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from bench.store.json_note import read_note, write_note
from bench.store.run_folder import Store
from bench.text import text_table
from bench.values.trial import Trial

FILE = Path("checks") / "eval.json"


@dataclass(frozen=True, slots=True)
class Difference:
    """How one task's answers differ between two ways of generating them.

    ``comparison`` names both ways. ``differ`` of ``count`` answers differ. ``move`` is the primary metric's mean of the
    first way minus that of the second, as a fraction.
    """

    comparison: str
    task: str
    count: int
    differ: int
    move: float


@dataclass(frozen=True, slots=True)
class Parity:
    """All differences in the answers of a base model, or of a base model with a trial's change.

    ``environment`` describes the usual way: the recipe's precision, ``eval_batch`` answers at once, and, unless the
    change is merged, how the model has it (``change``). ``notes`` say what could not be compared.
    """

    label: str
    environment: Mapping[str, str]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a Parity from its JSON form."""
        differences = tuple(Difference(**item) for item in data["differences"])
        return cls(data["label"], data["environment"], differences, tuple(data["notes"]))


def subject(trial: Trial) -> str:
    """Return the key of the weights that answer for a trial; all zero-shot rows of a model share one key."""
    return f"base-{trial.model}" if trial.rank is None else trial.id


def read(store: Store) -> dict[str, Parity]:
    """Return a run folder's differences by subject, or an empty dict if it has no file.

    Raises:
        StoreError: the file is damaged.
    """
    found = read_note(
        store.root / FILE,
        lambda data: {key: Parity.from_json(item) for key, item in data.items()},
        "{path} is damaged ({error}). Delete it and run bench check eval again.",
    )
    return found or {}


def write(store: Store, key: str, parity: Parity) -> Path:
    """Add a subject's differences to those in the run folder, and return the path of their file."""
    found = {name: asdict(item) for name, item in {**read(store), key: parity}.items()}
    path = store.root / FILE
    write_note(path, found)
    return path


def lines(parity: Parity) -> Iterator[str]:
    """Yield the lines of a table with a row per comparison and a column per task."""
    facts = parity.environment
    form = facts.get("change", "merged")
    yield f"{parity.label}, scored in {facts['dtype']}, {form}, {facts['eval_batch']} answers at once"
    yield "answers that differ between two ways to generate, and the metric of the first minus the second's, in points"
    comparisons = list(dict.fromkeys(item.comparison for item in parity.differences))
    columns = [["", *comparisons], *_columns(parity, comparisons)]
    yield from text_table(zip(*columns, strict=True), left=range(len(columns)))
    yield from parity.notes


def _columns(parity: Parity, comparisons: Sequence[str]) -> Iterator[list[str]]:
    """Yield each task's name and cells.

    The cell 3/100 +0.50 means that 3 of 100 answers differ, and that the metric is half a point higher.
    """
    for task in dict.fromkeys(item.task for item in parity.differences):
        found = {item.comparison: item for item in parity.differences if item.task == task}
        counts = [f"{item.differ}/{item.count}" for item in map(found.__getitem__, comparisons)]
        moves = [f"{100 * item.move:+.2f}" if item.differ else "" for item in map(found.__getitem__, comparisons)]
        widths = [max(map(len, cells)) for cells in (counts, moves)]
        yield [task, *(f"{a:>{widths[0]}} {b:>{widths[1]}}" for a, b in zip(counts, moves, strict=True))]
