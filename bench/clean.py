"""Find and free what no leaderboard needs: checkpoints, half-written files, trials of other settings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from bench.store import CHECKPOINT, RECORD, Store


@dataclass(frozen=True, slots=True)
class Waste:
    """A file or folder that can go, its size, and why."""

    path: Path
    bytes: int
    reason: str


def waste(store: Store, referenced: Set[str]) -> list[Waste]:
    """Return what can be freed: nothing that a trial among ``referenced`` ids needs to stay finished."""
    found = []
    known = {store.folder(record.trial): record.trial.id for record in store.records()}
    for folder, trial in known.items():
        if trial not in referenced:
            found.append(Waste(folder, _size(folder), "a trial that the last run does not use"))
        else:
            found += _leftovers(folder)
    for checkpoint in store.root.glob(f"*/{CHECKPOINT}"):
        if checkpoint.parent not in known:
            found.append(Waste(checkpoint.parent, _size(checkpoint.parent), "an unfinished trial; it would start anew"))
    return found


def free(items: Sequence[Waste]) -> None:
    """Delete what ``waste`` found; a trial's record goes first, so that a half-deleted trial is unfinished."""
    for item in items:
        if item.path.is_dir():
            (item.path / RECORD).unlink(missing_ok=True)
            shutil.rmtree(item.path)
        else:
            item.path.unlink(missing_ok=True)


def _leftovers(folder: Path) -> Iterator[Waste]:
    for path in sorted(folder.rglob("*")):
        if path.name == CHECKPOINT or path.name.endswith((".tmp", ".corrupt")):
            yield Waste(path, _size(path), "left over by a finished trial")


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
