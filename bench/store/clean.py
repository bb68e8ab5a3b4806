"""Find and delete what no command needs: leftovers of finished and unfinished trials, and trials that nothing uses."""

from __future__ import annotations

import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import StoreError
from bench.store.changes import CHANGE, CHECKPOINT, StoredChange
from bench.store.drafts import CORRUPT
from bench.store.run_folder import RECORD, Store
from bench.store.unfinished import MARK

_TRIAL = re.compile(r"-[0-9a-f]{12}$")
_DRAFT = re.compile(r"(?<!\d)\.tmp$|^\.mlflow-")  # of 0.1.0 and of MLflow; who takes the lock deletes our own
_UNUSED = "no run, search, study or sequence needs it"

Links = Mapping[tuple[int, int], Sequence[Path]]  # files by device and inode


@dataclass(frozen=True, slots=True)
class Used:
    """The trials that commands need, by id, and the labels of trials whose ids are not known yet.

    ``stopped`` are the ids of those that a search stopped early. If ``everything`` is true, a command could not be
    read, and every trial counts as needed.
    """

    ids: frozenset[str]
    labels: frozenset[str] = frozenset()
    stopped: frozenset[str] = frozenset()
    everything: bool = False

    def has(self, folder: str) -> bool:
        """Return whether a command needs the trial with this folder name."""
        label, _, trial = folder.rpartition("-")
        return self.everything or trial in self.ids or label in self.labels


@dataclass(frozen=True, slots=True)
class Waste:
    """Something that can be deleted: its paths, the bytes that this frees, and the reason.

    A trial has the ``seconds`` of its training; its paths are its folder and MLflow's links to the folder's files.
    """

    paths: tuple[Path, ...]
    reason: str
    seconds: float = 0.0
    is_older: bool = False

    @property
    def path(self) -> Path:
        """The file or folder in the run folder."""
        return self.paths[0]


def leftovers(store: Store, used: Used) -> list[Waste]:
    """Return drafts, what is damaged, what finished trials left over, and unfinished trials that nothing needs."""
    found = [Waste((path,), "a draft of a command that was killed") for path in _drafts(store.root)]
    for folder in _trials(store.root):
        for name, what in ((RECORD, "a damaged record"), (CHANGE, "a damaged change")):
            found += [Waste((path,), what) for path in folder.glob(f"{name}{CORRUPT}")]
        if (folder / RECORD).is_file():
            found += _of_finished(folder)
        elif not used.has(folder.name) and _facts(folder) is None:
            found.append(Waste((folder,), f"an unfinished trial; {_UNUSED}"))
        elif folder.name[-12:] in used.stopped and (folder / CHECKPOINT).is_file():
            found.append(Waste((folder / CHECKPOINT,), "the checkpoint of a training that a search stopped early"))
    return found


def unused(store: Store, used: Used, mirror: Path) -> list[Waste]:
    """Return the finished trials that no command needs; ``mirror`` is the folder of MLflow's files, with hard links.

    A trial that is trained but not scored counts as finished, because its training would be lost.
    """
    found = []
    links = _links(mirror)
    records = {store.folder(record.trial): record for record in store.records()}
    for folder in _trials(store.root):
        record, facts = records.get(folder), _facts(folder)
        if record is None and (folder / RECORD).is_file():
            continue  # of a newer version
        if (record is None and facts is None) or used.has(folder.name):
            continue
        paths = (folder, *(path for file in _files([folder]) for path in links.get(_inode(file), ())))
        if record is None:
            found.append(Waste(paths, f"trained but not scored; {_UNUSED}", (facts or {}).get("seconds", 0.0)))
            continue
        older = record.trial.is_older
        state = "" if record.status == "done" else f"{record.status}; "
        reason = f"a trial of an older version, {record.trial.version}; {_UNUSED}" if older else f"{state}{_UNUSED}"
        found.append(Waste(paths, reason, record.cost.train_seconds, older))
    return found


def freed_bytes(items: Iterable[Waste]) -> int:
    """Return the bytes that deleting items frees; a file that also has a name elsewhere frees nothing."""
    deleted = Counter[tuple[int, int]]()
    known: dict[tuple[int, int], tuple[int, int]] = {}
    for file in set(_files(path for item in items for path in item.paths)):
        stat = file.stat()
        deleted[stat.st_dev, stat.st_ino] += 1
        known[stat.st_dev, stat.st_ino] = (stat.st_nlink, stat.st_size)
    return sum(size for inode, (names, size) in known.items() if deleted[inode] >= names)


def free(items: Sequence[Waste]) -> None:
    """Delete items: of a trial MLflow's links, then the record, so that a half-deleted trial is unfinished."""
    for item in items:
        for path in reversed(item.paths):
            if path.is_dir():
                (path / RECORD).unlink(missing_ok=True)
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _trials(root: Path) -> Iterator[Path]:
    """Yield the folder of every trial."""
    yield from (path for path in sorted(root.glob("*-*")) if _TRIAL.search(path.name) and path.is_dir())


def _drafts(root: Path) -> Iterator[Path]:
    """Yield every draft, without the parts of one that is a folder."""
    for path in sorted(root.iterdir()):
        if _DRAFT.search(path.name):
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from _drafts(path)


def _of_finished(folder: Path) -> Iterator[Waste]:
    checkpoints = [folder / CHECKPOINT] if _facts(folder) is not None else []
    for path in (*checkpoints, *sorted((folder / "scores").glob(f"*{MARK}*"))):
        if path.is_file():
            yield Waste((path,), "left over by a finished trial")


def _facts(folder: Path) -> dict[str, Any] | None:
    """Return what was noted with a complete change, empty if the note is damaged, or None if there is none."""
    try:
        return StoredChange(folder, "").facts()
    except StoreError:
        return {}


def _links(mirror: Path) -> Links:
    """Return the files of MLflow that have another name too."""
    found = defaultdict[tuple[int, int], list[Path]](list)
    for file in _files([mirror]):
        if file.stat().st_nlink > 1:
            found[_inode(file)].append(file)
    return found


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (part for part in path.rglob("*") if part.is_file() and not part.is_symlink())
        elif path.is_file():
            yield path


def _inode(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_dev, stat.st_ino
