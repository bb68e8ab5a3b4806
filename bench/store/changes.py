"""Store what a trial has learnt: its change, its losses, and the snapshots of its training."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import DamagedError, StoreError, without_password
from bench.store import drafts, places
from bench.store.drafts import replace_file
from bench.store.json_note import read_note, write_note

if TYPE_CHECKING:
    from torch import Tensor

    from bench.model.change import Change

log = logging.getLogger(__name__)

CHANGE = "change"
_OWN = "own-change"
_BANK = "bank"
_KEPT = "kept.safetensors"
CHECKPOINT = "checkpoint.pt"
_SNAPSHOTS = "snapshots"
_FITTED = "fitted.json"
_LOSSES = "losses.csv"
_SCORES = "scores.json"
_DAMAGED = "{path} is damaged ({error}). Delete its folder and run again."
_WEIGHTS = "adapter_model.safetensors"  # the last file of a change by name, and so the last one that is uploaded


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a trial had learnt by a step of its training, and its scores at that step by score key."""

    folder: Path
    base: str

    def is_whole(self) -> bool:
        """Whether the snapshot exists and is complete."""
        return (self.folder / _WEIGHTS).is_file()

    def write(self, change: Change) -> None:
        """Commit the change that the trial has learnt so far."""
        _put_change(self.folder, change, self.base)

    def write_scores(self, values: Mapping[str, float]) -> None:
        """Commit the scores of the snapshot."""
        write_note(self.folder / _SCORES, dict(values), indent=None)

    def scores(self) -> dict[str, float]:
        """Return the scores that were committed; empty if there are no scores yet."""
        return read_note(self.folder / _SCORES, dict[str, float], _DAMAGED) or {}


@dataclass(frozen=True, slots=True)
class Handover:
    """What a stage of a sequence leaves next to its change.

    ``own`` is what a stage that folds has learnt itself, ``kept`` are tensors for the next stage by name, and ``bank``
    has the changes with which earlier tasks are answered, by task.
    """

    own: Change | None = None
    kept: Mapping[str, Tensor] = field(default_factory=dict)
    bank: Mapping[str, Change] = field(default_factory=dict)


NO_HANDOVER = Handover()


@dataclass(frozen=True, slots=True)
class StoredChange:
    """The change of a trial in the trial's folder; ``base`` is the revision of the base model."""

    folder: Path
    base: str

    def snapshot(self, step: int) -> Snapshot:
        """Return the snapshot of a step; the snapshot need not exist."""
        return Snapshot(self.folder / _SNAPSHOTS / str(step), self.base)

    def read(self, step: int | None = None) -> Change:
        """Return the change of the trial, or its snapshot at ``step``.

        Raises:
            DamagedError: the change or the snapshot is missing or damaged.
            StoreError: it cannot be read now.
        """
        return _read_change(self.folder / CHANGE if step is None else self.snapshot(step).folder)

    def write(
        self, change: Change, losses: Sequence[float], facts: Mapping[str, Any], handover: Handover = NO_HANDOVER
    ) -> None:
        """Commit the change, so that the trial is not trained again if its evaluation is killed."""
        places.remove(self.folder / _FITTED)  # first, because this file says that everything is complete
        self._hand_over(handover)
        _put_change(self.folder / CHANGE, change, self.base)
        if losses:
            file = io.StringIO(newline="")
            rows = csv.writer(file)
            rows.writerow(("step", "loss"))
            rows.writerows((step, repr(loss)) for step, loss in enumerate(losses, 1))
            replace_file(self.folder / _LOSSES, file.getvalue())
        write_note(self.folder / _FITTED, dict(facts), indent=None)
        (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def folds(self) -> bool:
        """Whether the trial is a stage that has learnt on the change of the stages before it."""
        return (self.folder / _OWN / _WEIGHTS).is_file()

    def own(self) -> Change:
        """Return what a stage that folds has learnt itself."""
        return _read_change(self.folder / _OWN)

    def bank(self) -> dict[str, Change]:
        """Return the changes with which earlier tasks are answered, by task."""
        folders = sorted(path.parent for path in (self.folder / _BANK).glob(f"*/{_WEIGHTS}"))
        return {folder.name: _read_change(folder) for folder in folders}

    def kept(self) -> dict[str, Tensor]:
        """Return the tensors that the trial kept for the next stage, by name.

        Raises:
            StoreError: the file is damaged.
        """
        path = self.folder / _KEPT
        if not path.is_file():
            return {}
        from bench.model.saving import load_tensors

        with places.fetched(path) as copy:
            return load_tensors(copy)

    def handed_over_bytes(self) -> int:
        """Return the bytes on disk of what the trial kept for the next stage, and of its bank."""
        kept, bank = self.folder / _KEPT, (self.folder / _BANK).glob("*/*")
        return sum(path.stat().st_size for path in (kept, *bank) if path.is_file())

    def _hand_over(self, handover: Handover) -> None:
        for folder in (_OWN, _BANK):
            places.remove(self.folder / folder)
        places.remove(self.folder / _KEPT)
        if handover.own is not None:
            _put_change(self.folder / _OWN, handover.own, self.base)
        for task, change in handover.bank.items():
            _put_change(self.folder / _BANK / task, change, self.base)
        if handover.kept:
            from bench.model.saving import save_tensors

            tensors = {name: value.detach().cpu().contiguous() for name, value in handover.kept.items()}
            with drafts.drafted(self.folder / _KEPT) as draft:
                save_tensors(tensors, draft, {})

    def facts(self) -> dict[str, Any] | None:
        """Return the facts that were committed with the change, or None if there is no complete change."""
        if not (self.folder / CHANGE).is_dir():
            return None
        return read_note(self.folder / _FITTED, dict[str, Any], _DAMAGED)

    def is_there(self) -> bool:
        """Whether a complete change was committed; ``is_whole`` also reads its weights."""
        return (self.folder / _FITTED).is_file() and (self.folder / CHANGE).is_dir()

    def is_whole(self) -> bool:
        """Whether there is a complete change; a damaged one is renamed, so that it is learnt again.

        Raises:
            StoreError: the change cannot be read now.
        """
        if self.facts() is None:
            return False
        try:
            self.read()
        except DamagedError as error:
            (self.folder / _FITTED).unlink(missing_ok=True)
            aside = drafts.set_aside(self.folder / CHANGE)
            log.warning("%s It was renamed to %s, and will be learnt again.", error.reason, aside.name)
            return False
        return True

    def losses(self) -> list[float]:
        """Return the loss of every update; empty if the trial did not train."""
        path = self.folder / _LOSSES
        if not path.is_file():
            return []
        rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
        return [float(row["loss"]) for row in rows]


def _put_change(folder: Path, change: Change, base: str) -> None:
    """Replace a change: rename a folder on a disk, or upload file by file to a URL, the weights last."""
    if places.is_remote(folder):
        places.remove(folder / _WEIGHTS)
        places.remove(folder)
    with drafts.drafted(folder) as draft:
        change.save(draft, base=base)


def _read_change(folder: Path) -> Change:
    from bench.model.change import Change

    with places.fetched(folder) as copy:
        try:
            return Change.load(copy)
        except StoreError as error:
            place = without_password(str(folder))
            raise type(error)(*(part.replace(str(copy), place) for part in error.args)) from error
