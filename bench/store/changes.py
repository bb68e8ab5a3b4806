"""Keep what a trial has learnt: its change with facts and losses, and the snapshots of its training."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StoreError
from bench.store import places
from bench.store.places import replace_file

if TYPE_CHECKING:
    from bench.model.change import Change

log = logging.getLogger(__name__)

CHANGE = "change"
CHECKPOINT = "checkpoint.pt"
_SNAPSHOTS = "snapshots"
_FITTED = "fitted.json"
_LOSSES = "losses.csv"
_SCORES = "scores.json"
_WEIGHTS = "adapter_model.safetensors"  # of a change; its last file by name, and so the last that is put


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a trial had learnt by a step of its training, and its scores on the rungs by their keys."""

    folder: Path
    base: str

    def is_whole(self) -> bool:
        """Whether it is there, whole."""
        return (self.folder / _WEIGHTS).is_file()

    def write(self, change: Change) -> None:
        """Commit what the trial has learnt so far."""
        _put_change(self.folder, change, self.base)

    def write_scores(self, values: Mapping[str, float]) -> None:
        """Commit its scores."""
        replace_file(self.folder / _SCORES, json.dumps(dict(values)) + "\n")

    def scores(self) -> dict[str, float]:
        """Return the scores that there are."""
        path = self.folder / _SCORES
        values: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
        return values


@dataclass(frozen=True, slots=True)
class StoredChange:
    """What a trial has learnt, in its folder; ``base`` is the revision of the base model."""

    folder: Path
    base: str

    def snapshot(self, step: int) -> Snapshot:
        """Return the snapshot of a step, which need not be there."""
        return Snapshot(self.folder / _SNAPSHOTS / str(step), self.base)

    def read(self, step: int | None = None) -> Change:
        """Return what the trial has learnt, or had learnt by a step that has a snapshot.

        Raises:
            StoreError: it is gone or damaged.
        """
        return _read_change(self.folder / CHANGE if step is None else self.snapshot(step).folder)

    def write(self, change: Change, losses: Sequence[float], facts: Mapping[str, Any]) -> None:
        """Commit what the trial has learnt, so that a killed evaluation never trains again."""
        if places.is_remote(self.folder):
            places.remove(self.folder / _FITTED)  # first: it vouches for the files of the change
        _put_change(self.folder / CHANGE, change, self.base)
        if losses:
            file = io.StringIO(newline="")
            rows = csv.writer(file)
            rows.writerow(("step", "loss"))
            rows.writerows((step, repr(loss)) for step, loss in enumerate(losses, 1))
            replace_file(self.folder / _LOSSES, file.getvalue())
        replace_file(self.folder / _FITTED, json.dumps(dict(facts)) + "\n")
        (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def facts(self) -> dict[str, Any] | None:
        """Return the facts committed with the change, or None if it is still to be learnt."""
        path = self.folder / _FITTED
        if not path.is_file() or not (self.folder / CHANGE).is_dir():
            return None
        facts: dict[str, Any] = json.loads(path.read_text())
        return facts

    def losses(self) -> list[float]:
        """Return the loss of every update, or nothing if the trial did not train."""
        path = self.folder / _LOSSES
        if not path.is_file():
            return []
        rows = csv.DictReader(path.read_text().splitlines())
        return [float(row["loss"]) for row in rows]

    def set_aside(self, reason: str) -> None:
        """Take a damaged change out of the way, so that the trial learns it again."""
        (self.folder / _FITTED).unlink(missing_ok=True)
        places.remove(self.folder / CHANGE)
        log.warning("%s: %s It is learnt again.", self.folder / CHANGE, reason)


def _put_change(folder: Path, change: Change, base: str) -> None:
    """Write a change in place of an earlier one: renamed as a folder, or put file by file, the weights last."""
    if places.is_remote(folder):
        places.remove(folder / _WEIGHTS)
        places.remove(folder)
        with places.staged(folder) as draft:
            change.save(draft, base=base)
        return
    draft = places.draft_of(folder)
    for path in (draft, folder):
        places.remove(path)
    change.save(draft, base=base)
    draft.replace(folder)


def _read_change(folder: Path) -> Change:
    from bench.model.change import Change

    with places.fetched(folder) as copy:
        try:
            return Change.load(copy)
        except StoreError as error:
            raise StoreError(str(error).replace(str(copy), str(folder))) from error
