"""The run folder: one folder a trial, committed by its record.json; the source of truth."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StoreError, UsageError
from bench.spec import Record, Score, Trial
from bench.store import lock, places
from bench.store.json_note import read_note
from bench.store.places import draft_of, replace_file
from bench.store.unfinished import Partial

if TYPE_CHECKING:
    from bench.model.change import Change

log = logging.getLogger(__name__)

RECORD = "record.json"
CHANGE = "change"
CHECKPOINT = "checkpoint.pt"
SNAPSHOTS = "snapshots"
_ERROR = "error.txt"
_FITTED = "fitted.json"
_RUNGS = "scores.json"
_WEIGHTS = "adapter_model.safetensors"  # of a change; its last file by name, and so the last that is put
_MODELS = "models.json"


class Store:
    """A run folder on a local or shared disk, or at a URL (see ``places``).

    A trial's folder holds ``record.json`` (written last), ``change/``, ``snapshots/<step>/``, ``losses.csv``,
    ``scores/*.jsonl``, and while it runs ``checkpoint.pt`` and ``scores/*.part-*.jsonl``; a failed trial also has
    ``error.txt``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def check(self) -> None:
        """Refuse a run folder that is none, or cannot be looked into.

        Raises:
            UsageError: it is a file, may not be read, or cannot be reached.
        """
        if places.is_remote(self.root):
            places.check(self.root, "--output")
            return
        if self.root.exists() and not self.root.is_dir():
            raise UsageError(f"--output {self.root} is a file. Choose a folder.")
        if self.root.exists() and not os.access(self.root, os.R_OK | os.X_OK):
            raise UsageError(f"--output {self.root} may not be read. Choose another folder, or change its rights.")

    def prepare(self) -> None:
        """Create the run folder.

        Raises:
            UsageError: it cannot be written to.
        """
        if places.is_remote(self.root):
            places.probe(self.root, "--output")
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
    def locked(self) -> Iterator[None]:
        """Hold the run folder for one command at a time, so that nothing is trained twice.

        Raises:
            UsageError: another command holds it.
        """
        self.prepare()
        with lock.locked(self.root):
            yield

    def folder(self, trial: Trial) -> Path:
        """Return where a trial's files lie."""
        return self.root / trial.folder

    def begin(self, trial: Trial) -> Path:
        """Make the trial's folder, and return it."""
        folder = self.folder(trial)
        places.make(folder)
        return folder

    def write_error(self, trial: Trial, text: str) -> None:
        """Write why a trial failed into its folder; an empty text takes an earlier reason away."""
        path = self.folder(trial) / _ERROR
        if text:
            replace_file(path, text)
        else:
            path.unlink(missing_ok=True)

    def read(self, trial: Trial) -> Record | None:
        """Return a trial's record, or None while it is unfinished; a corrupt one is set aside and named."""
        return self._read(self.folder(trial) / RECORD)

    def records(self) -> Iterator[Record]:
        """Yield every record of the run folder, in the order of the folders' names."""
        for path in sorted(self.root.glob(f"*/{RECORD}")):
            record = self._read(path)
            if record is not None:
                yield record

    def find(self, name: str) -> Record:
        """Return the one record whose label, id or folder starts with ``name``.

        Raises:
            UsageError: there is none, or there are several.
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
            raise UsageError(f"No trial named {name!r} in {self.root}. bench ls trials lists them.")
        names = ", ".join(record.trial.folder for record in found[:6])
        raise UsageError(f"{name!r} means {len(found)} trials: {names}. Give the id.")

    def note_model(self, revision: str, suite: str, model: str) -> None:
        """Note which suite and which model, a folder or a hub id, a revision means."""
        noted = self.noted_models()
        if noted.get(revision) != (suite, model):
            data = {**noted, revision: (suite, model)}
            replace_file(self.root / _MODELS, json.dumps(data, indent=1) + "\n")

    def noted_models(self) -> dict[str, tuple[str, str]]:
        """Return the noted suites and models by revision.

        Raises:
            StoreError: the note is damaged.
        """
        noted = read_note(
            self.root / _MODELS,
            lambda data: {revision: (suite, model) for revision, (suite, model) in data.items()},
            "{path} is damaged ({error}). Delete it; the next run writes it anew.",
        )
        return noted or {}

    def write(self, record: Record) -> None:
        """Commit a record, replacing an earlier one in one atomic step."""
        replace_file(self.begin(record.trial) / RECORD, json.dumps(record.to_json(), indent=1) + "\n")

    def write_scores(self, trial: Trial, key: str, rows: Sequence[Mapping[str, Any]]) -> str:
        """Write one score's examples, a JSON line each, and return the file's place in the trial's folder."""
        name = f"scores/{key}.jsonl"
        path = self.folder(trial) / name
        places.make(path.parent)
        replace_file(path, "".join(json.dumps(row) + "\n" for row in rows))
        return name

    def partial(
        self, trial: Trial, key: str, environment: Mapping[str, str], rank: int, watch: Callable[[int], None]
    ) -> Partial:
        """Return what there is of a score that is not finished; a worker adds to it until ``write_scores``."""
        return Partial(self.folder(trial) / "scores" / f"{key}.jsonl", environment, rank, watch)

    def read_scores(self, trial: Trial, score: Score) -> list[dict[str, Any]]:
        """Return one score's examples.

        Raises:
            StoreError: the file is gone or damaged.
        """
        path = self.folder(trial) / score.file
        try:
            rows = [json.loads(line) for line in path.read_text().splitlines()]
        except (OSError, json.JSONDecodeError) as error:
            raise StoreError(f"{path} cannot be read ({error}). Delete {path.parent.parent} and run again.") from error
        if len(rows) != score.asked.count:
            raise StoreError(
                f"{path} has {len(rows)} of {score.asked.count} examples. Delete the folder and run again."
            )
        return rows

    def write_change(self, trial: Trial, change: Change, losses: Sequence[float], facts: Mapping[str, Any]) -> None:
        """Commit what a trial has learnt, so that a killed evaluation never trains again."""
        folder = self.folder(trial)
        if places.is_remote(folder):
            places.remove(folder / _FITTED)  # first: it vouches for the files of the change
        self._put_change(folder / CHANGE, change, trial.model)
        if losses:
            file = io.StringIO(newline="")
            rows = csv.writer(file)
            rows.writerow(("step", "loss"))
            rows.writerows((step, repr(loss)) for step, loss in enumerate(losses, 1))
            replace_file(folder / "losses.csv", file.getvalue())
        replace_file(folder / _FITTED, json.dumps(dict(facts)) + "\n")
        (folder / CHECKPOINT).unlink(missing_ok=True)

    def read_fitted(self, trial: Trial) -> dict[str, Any] | None:
        """Return the facts committed with a trial's change, or None where it is still to be trained."""
        path = self.folder(trial) / _FITTED
        if not path.is_file() or not (self.folder(trial) / CHANGE).is_dir():
            return None
        facts: dict[str, Any] = json.loads(path.read_text())
        return facts

    def read_change(self, trial: Trial) -> Change:
        """Return what a trial has learnt.

        Raises:
            StoreError: the change is gone or damaged.
        """
        return _change(self.folder(trial) / CHANGE)

    def write_snapshot(self, trial: Trial, step: int, change: Change) -> None:
        """Commit what a trial has learnt by a step of its training."""
        self._put_change(self.snapshot(trial, step), change, trial.model)

    def has_snapshot(self, trial: Trial, step: int) -> bool:
        """Whether a trial's snapshot of this step is there, whole."""
        return (self.snapshot(trial, step) / _WEIGHTS).is_file()

    def snapshot(self, trial: Trial, step: int) -> Path:
        """Return where a trial's snapshot lies, if it has one of this step."""
        return self.folder(trial) / SNAPSHOTS / str(step)

    def read_snapshot(self, trial: Trial, step: int | None) -> Change:
        """Return what a trial had learnt by a step of its training; None is the last.

        Raises:
            StoreError: there is no such snapshot, or it is damaged.
        """
        return self.read_change(trial) if step is None else _change(self.snapshot(trial, step))

    def write_rungs(self, trial: Trial, step: int, values: Mapping[str, float]) -> None:
        """Commit the scores of a snapshot by their keys."""
        replace_file(self.snapshot(trial, step) / _RUNGS, json.dumps(dict(values)) + "\n")

    def read_rungs(self, trial: Trial, step: int) -> dict[str, float]:
        """Return the scores of a snapshot by their keys, those that there are."""
        path = self.snapshot(trial, step) / _RUNGS
        values: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
        return values

    def set_change_aside(self, trial: Trial, reason: str) -> None:
        """Take a damaged change out of the way, so that the trial learns it again."""
        folder = self.folder(trial)
        (folder / _FITTED).unlink(missing_ok=True)
        places.remove(folder / CHANGE)
        log.warning("%s: %s It is learnt again.", folder / CHANGE, reason)

    def read_losses(self, trial: Trial) -> list[float]:
        """Return the loss of every update, or nothing where a trial did not train."""
        path = self.folder(trial) / "losses.csv"
        if not path.is_file():
            return []
        rows = csv.DictReader(path.read_text().splitlines())
        return [float(row["loss"]) for row in rows]

    def _put_change(self, folder: Path, change: Change, base: str) -> None:
        """Write a change in place of an earlier one: renamed as a folder, or put file by file, the weights last."""
        if places.is_remote(folder):
            places.remove(folder / _WEIGHTS)
            places.remove(folder)
            with places.staged(folder) as draft:
                change.save(draft, base=base)
            return
        draft = draft_of(folder)
        for path in (draft, folder):
            places.remove(path)
        change.save(draft, base=base)
        draft.replace(folder)

    def _read(self, path: Path) -> Record | None:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return Record.from_json(json.loads(data))
        except (StoreError, ValueError) as error:
            aside = path.with_name(f"{RECORD}.corrupt")
            places.put(aside, data)
            path.unlink()
            log.warning("%s is corrupt (%s); set aside as %s, its trial runs again.", path, error, aside.name)
            return None


def _change(folder: Path) -> Change:
    from bench.model.change import Change

    with places.fetched(folder) as copy:
        try:
            return Change.load(copy)
        except StoreError as error:
            raise StoreError(str(error).replace(str(copy), str(folder))) from error
