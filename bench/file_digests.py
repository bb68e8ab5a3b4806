"""Digests of files, kept between processes so that an unchanged file is not read again."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

FILE = "digests.1.sqlite3"  # the number is the layout's version

_TABLE = (
    "CREATE TABLE IF NOT EXISTS digests (path BLOB PRIMARY KEY, size INTEGER, modified INTEGER, changed INTEGER,"
    " digest BLOB) WITHOUT ROWID"
)
_SETTLED_NS = 2_000_000_000  # a file younger than this could change again without a new time stamp
_READERS = 4
_WAIT_SECONDS = 10.0

_State = tuple[int, int, int]  # size in bytes; time of modification and time of change in ns


def of_files(paths: Iterable[Path]) -> dict[Path, bytes]:
    """Return the SHA-256 of each file's bytes, 32 bytes, from the cache if the file is unchanged.

    A file counts as unchanged if its size, its time of modification and its time of change (which no program can set
    back) are all unchanged. If the cache cannot be used, every file is read.

    Raises:
        OSError: a file cannot be read.
    """
    wanted = {path: _state(path) for path in dict.fromkeys(paths)}
    with _cache() as cache:
        found = {} if cache is None else _known(cache, wanted)
        missing = [path for path in wanted if path not in found]
        if missing:
            fresh = _read(missing)
            found |= fresh
            if cache is not None:
                _keep(cache, {path: wanted[path] for path in missing}, fresh)
    return found


def cache_folder() -> Path:
    """Return the folder for recomputable files: $BENCH_CACHE, or retain-bench in the user's cache."""
    if own := os.environ.get("BENCH_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retain-bench"


def _state(path: Path) -> _State:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _read(paths: list[Path]) -> dict[Path, bytes]:
    with ThreadPoolExecutor(_READERS) as readers:
        return dict(zip(paths, readers.map(_digest, paths), strict=True))


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


@contextmanager
def _cache() -> Iterator[sqlite3.Connection | None]:
    """Open the cache, or yield None if it cannot be used: the cache only saves time."""
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(cache_folder() / FILE, timeout=_WAIT_SECONDS)
        connection.execute(_TABLE)
    except (OSError, sqlite3.Error):
        yield None
        return
    with closing(connection):
        yield connection


def _known(cache: sqlite3.Connection, wanted: Mapping[Path, _State]) -> dict[Path, bytes]:
    question = "SELECT digest FROM digests WHERE path = ? AND size = ? AND modified = ? AND changed = ?"
    found = {}
    try:
        for path, state in wanted.items():
            row = cache.execute(question, (_key(path), *state)).fetchone()
            if row is not None:
                found[path] = bytes(row[0])
    except sqlite3.Error:  # damaged, or locked for too long: the digests found so far are still valid
        return found
    return found


def _keep(cache: sqlite3.Connection, before: Mapping[Path, _State], fresh: Mapping[Path, bytes]) -> None:
    """Cache the digests of settled files: not changed while they were read, nor shortly before."""
    latest = time.time_ns() - _SETTLED_NS
    rows = [
        (_key(path), *state, fresh[path])
        for path, state in before.items()
        if max(state[1:]) < latest and _state(path) == state
    ]
    try:
        with cache:
            cache.executemany("REPLACE INTO digests VALUES (?, ?, ?, ?, ?)", rows)
    except sqlite3.Error:
        return


def _key(path: Path) -> bytes:
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100  absolute() keeps "..", resolve() asks the disk for every part
