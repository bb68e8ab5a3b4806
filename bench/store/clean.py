"""Find and delete what no leaderboard needs: checkpoints, unfinished files, trials of other settings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from bench.store.changes import CHECKPOINT
from bench.store.run_folder import RECORD, Store
from bench.store.unfinished import MARK


@dataclass(frozen=True, slots=True)
class Waste:
    """A file or folder that can be deleted, its size, and the reason."""

    path: Path
    bytes: int
    reason: str


def waste(store: Store, referenced: Set[str]) -> list[Waste]:
    """Return what can be deleted without making a trial in ``referenced`` (ids) unfinished."""
    found = []
    known = {store.folder(record.trial): record for record in store.records()}
    for folder, record in known.items():
        if record.trial.id not in referenced:
            old = f"a trial of an older version, {record.trial.version}" if record.trial.is_older else ""
            found.append(Waste(folder, _size(folder), old or "a trial that the last run does not use"))
        elif record.status == "done":
            found += _leftovers(folder)
    for checkpoint in store.root.glob(f"*/{CHECKPOINT}"):
        if checkpoint.parent not in known and checkpoint.parent.name.rsplit("-", 1)[-1] not in referenced:
            found.append(Waste(checkpoint.parent, _size(checkpoint.parent), "an unfinished trial; it would start over"))
    return found


def free(items: Sequence[Waste]) -> None:
    """Delete what ``waste`` found; a trial's record first, so that a half-deleted trial is unfinished."""
    for item in items:
        if item.path.is_dir():
            (item.path / RECORD).unlink(missing_ok=True)
            shutil.rmtree(item.path)
        else:
            item.path.unlink(missing_ok=True)


def _leftovers(folder: Path) -> Iterator[Waste]:
    for path in sorted(folder.rglob("*")):
        if path.name == CHECKPOINT or path.name.endswith((".tmp", ".corrupt")) or MARK in path.name:
            yield Waste(path, _size(path), "left over by a finished trial")


def _size(path: Path) -> int:
    """Return the bytes that deleting frees; a file that MLflow's artifacts hard-link frees nothing."""
    files = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
    return sum(file.stat().st_size for file in files if file.stat().st_nlink == 1)
