"""Read and write a run folder: one folder per trial, committed by its ``record.json``."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.errors import NewerError, StoreError, UsageError, without_password
from bench.store import drafts, lock, places, reach
from bench.store.changes import StoredChange
from bench.store.drafts import replace_file
from bench.store.json_note import read_note, write_note
from bench.store.scores import StoredScores
from bench.store.told_apart import told_apart
from bench.values.record import Record
from bench.values.trial import Trial

log = logging.getLogger(__name__)

RECORD = "record.json"
_MODELS = "models.json"
_ERROR = "error.txt"
_LISTED = 8  # trials that a message lists
_MANY = 64  # trials from which on one listing of the run folder is quicker than a look for each


@dataclass(frozen=True, slots=True)
class Census:
    """What the records of a run folder say: the ids of the finished trials, and every trial's score keys by its id.

    Trials of an older version, which no plan uses, are in neither; ``older`` is their number.
    """

    done: frozenset[str]
    scores: Mapping[str, frozenset[str]]
    older: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a run folder has of some trials: their records by trial id, and the ids of those that have learnt.

    A trial has learnt if its record is done, or if its change is there: a failed trial may have learnt, and one that
    was killed before its first score has no record yet.
    """

    records: Mapping[str, Record]
    learnt: frozenset[str]


class Store:
    """A run folder on a local or shared disk, or at a URL (see ``places``).

    A trial's folder holds ``record.json``, ``change/``, ``snapshots/<step>/``, ``losses.csv`` and ``scores/*.jsonl``.
    The record names the scores that are complete; a score counts once the record names it. A folder without a record
    holds no usable result. While the trial runs, its folder also holds ``checkpoint.pt`` and
    ``scores/*.part-*.jsonl``. A failed trial also has ``error.txt``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._parsed: dict[Path, tuple[tuple[int, int, int], Record]] = {}
        self._is_held = False  # by a command that runs trials; only such a one may move what is damaged
        self._told: set[object] = set()

    def check(self) -> None:
        """Refuse a run folder that is not a readable folder; it need not exist yet.

        Raises:
            UsageError: the run folder is a file, may not be read, or cannot be reached.
        """
        if places.is_remote(self.root):
            reach.check(self.root, "--output")
            return
        if self.root.exists() and not self.root.is_dir():
            raise UsageError(f"--output {self.root} is a file. Choose a folder.")
        if self.root.exists() and not os.access(self.root, os.R_OK | os.X_OK):
            raise UsageError(f"--output {self.root} may not be read. Choose another folder, or change its permissions.")

    def prepare(self) -> None:
        """Create the run folder.

        Raises:
            UsageError: the run folder cannot be written to.
        """
        if places.is_remote(self.root):
            reach.probe(self.root, "--output")
            return
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".write-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UsageError(
                f"Cannot write to --output {self.root}: {error.strerror}. Choose another folder."
            ) from error

    @contextmanager
    def locked(self, *, runs: bool = True) -> Iterator[None]:
        """Hold the run folder for one command at a time, so that no trial is trained twice.

        The drafts that killed commands have left in it are deleted. A command that ``runs`` no trial leaves records
        where they are, and skips those that it cannot read.

        Raises:
            UsageError: another command holds the run folder.
        """
        self.prepare()
        with lock.locked(self.root):
            if not places.is_remote(self.root):
                drafts.sweep(self.root)
            self._is_held = runs
            try:
                yield
            finally:
                self._is_held = False

    def folder(self, trial: Trial) -> Path:
        """Return the folder of a trial."""
        return self.root / trial.folder

    def begin(self, trial: Trial) -> Path:
        """Create the folder of a trial and return it."""
        folder = self.folder(trial)
        places.make(folder)
        return folder

    def write_error(self, trial: Trial, text: str) -> None:
        """Write why a trial failed into its folder; an empty text deletes an earlier reason."""
        path = self.folder(trial) / _ERROR
        if text:
            replace_file(path, text)
        else:
            path.unlink(missing_ok=True)

    def read(self, trial: Trial) -> Record | None:
        """Return a trial's record, or None if it is missing or corrupt.

        Raises:
            NewerError: a newer version wrote the record, and this command may write it again, because it holds the
                folder.
        """
        path = self.folder(trial) / RECORD
        try:
            return self._read(path)
        except NewerError as error:
            if self._is_held:
                reason = f"{without_password(str(path))} cannot be read: {error}."
                raise NewerError(reason, "Update retain-bench, or choose another --output.") from error
            self._skip_newer(path, error)
            return None

    def read_all(self, trials: Sequence[Trial]) -> dict[str, Record]:
        """Return the records that the store has of some trials, by trial id; many trials take one listing."""
        found = ((trial.id, self.read(trial)) for trial in self._begun(trials))
        return {name: record for name, record in found if record is not None}

    def holdings(self, trials: Sequence[Trial]) -> Holdings:
        """Return what the store has of some trials; many trials take one listing."""
        records, learnt = dict[str, Record](), set[str]()
        for trial in self._begun(trials):
            record = self.read(trial)
            if record is not None:
                records[trial.id] = record
            if (record is not None and record.status == "done") or self.change_of(trial).is_there():
                learnt.add(trial.id)
        return Holdings(records, frozenset(learnt))

    def _begun(self, trials: Sequence[Trial]) -> Sequence[Trial]:
        """Return the trials that may have a folder: of many, those that have one; of few, all."""
        if len(trials) <= _MANY:
            return trials
        there = {path.name for path in self.root.iterdir()} if self.root.is_dir() else set()
        return [trial for trial in trials if trial.folder in there]

    def records(self) -> Iterator[Record]:
        """Yield every record of the run folder that this version can read, in the order of the folder names."""
        for path in sorted(self.root.glob(f"*/{RECORD}")):
            try:
                record = self._read(path)
            except NewerError as error:
                self._skip_newer(path, error)
                continue
            if record is not None:
                yield record

    @cached_property
    def census(self) -> Census:
        """The records when they were first asked for; a run folder at a URL takes long to read, so it is read once."""
        records = list(self.records())
        new = [record for record in records if not record.trial.is_older]
        return Census(
            frozenset(record.trial.id for record in new if record.status == "done"),
            {record.trial.id: frozenset(record.scores) for record in new},
            len(records) - len(new),
        )

    def find(self, name: str) -> Record:
        """Return the one record whose label, id or folder starts with ``name``.

        Raises:
            UsageError: no record matches, or several do.
        """
        found = [
            record
            for record in self.records()
            if record.trial.folder.startswith(name) or record.trial.id.startswith(name)
        ]
        exact = [record for record in found if name in {record.trial.label, record.trial.id}]
        if len(exact) == 1:
            return exact[0]
        if len(found) == 1:
            return found[0]
        if not found:
            raise UsageError(f"No trial named {name!r} in {self.root}. List the trials with bench ls trials.")
        if len({record.trial.label for record in found}) == 1:
            each = "; ".join(told_apart([record.trial for record in found][:_LISTED]))
            raise UsageError(f"{name!r} matches {len(found)} trials: {each}. Give the id.")
        names = ", ".join(record.trial.folder for record in found[:_LISTED])
        raise UsageError(f"{name!r} matches {len(found)} trials: {names}. Give the whole name.")

    def write(self, record: Record) -> None:
        """Commit a record; an earlier record is replaced atomically."""
        write_note(self.folder(record.trial) / RECORD, record.to_json())

    def models(self) -> dict[str, tuple[str, str]]:
        """Return the suite and the model of each revision by which the trials name their base model.

        Raises:
            StoreError: the file is damaged.
        """
        noted = read_note(
            self.root / _MODELS,
            lambda data: {revision: (suite, model) for revision, (suite, model) in data.items()},
            "{path} is damaged ({error}). Delete it; the next run writes it again.",
        )
        return noted or {}

    def note_model(self, revision: str, suite: str, model: str) -> None:
        """Save the suite and the model (a folder or a hub id) of a revision."""
        noted = self.models()
        if noted.get(revision) != (suite, model):
            write_note(self.root / _MODELS, {**noted, revision: (suite, model)})

    def scores_of(self, trial: Trial) -> StoredScores:
        """Return the stored scores of a trial."""
        return StoredScores(self.folder(trial))

    def change_of(self, trial: Trial) -> StoredChange:
        """Return the stored change of a trial, with its snapshots."""
        return StoredChange(self.folder(trial), trial.model)

    def _read(self, path: Path) -> Record | None:
        """Return the record in a file, or None if it is missing or corrupt; the same file is parsed once.

        Raises:
            NewerError: a newer version wrote the record.
        """
        try:
            state = _state(path)
            if (known := self._parsed.get(path)) is not None and known[0] == state:
                return known[1]
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            record = Record.from_json(json.loads(data))
        except NewerError:
            raise
        except (StoreError, ValueError) as error:
            self._leave_out(path, error)
            return None
        if state is not None:
            self._parsed[path] = (state, record)
        return record

    def _leave_out(self, path: Path, error: Exception) -> None:
        """Rename a corrupt record if this command holds the folder, and say so; others may be reading it, too."""
        place = without_password(str(path))
        if self._is_held:
            aside = drafts.set_aside(path).name
            log.warning("%s is corrupt (%s). It was renamed to %s, and its trial will run again.", place, error, aside)
        elif path not in self._told:
            self._told.add(path)
            log.warning(
                "%s is corrupt (%s). It is skipped. bench run sets it aside and runs its trial again.", place, error
            )

    def _skip_newer(self, path: Path, error: NewerError) -> None:
        """Say once that records of a newer version are skipped, because there may be thousands."""
        if NewerError not in self._told:
            self._told.add(NewerError)
            place = without_password(str(path))
            log.warning("%s is skipped, and so is every record like it: %s. Update retain-bench.", place, error)


def _state(path: Path) -> tuple[int, int, int] | None:
    """Return what changes with a file on a disk: its number, size and time of change in ns; None at a URL.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    if places.is_remote(path):
        return None
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_ctime_ns
