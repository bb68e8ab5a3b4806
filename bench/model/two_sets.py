"""Compare two sets of weights in one folder: one file, and the shards of an index beside it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.errors import DataError
from bench.model.checkpoints import INDEX, WEIGHTS, files_of, header, weights_entry

_CHUNK = 16 << 20


@dataclass(frozen=True, slots=True)
class _Part:
    """A tensor's bytes in a file."""

    file: Path
    begin: int
    end: int

    def digest(self) -> bytes:
        total, left = hashlib.sha256(), self.end - self.begin
        with self.file.open("rb") as file:
            file.seek(self.begin)
            while left > 0 and (chunk := file.read(min(left, _CHUNK))):
                total.update(chunk)
                left -= len(chunk)
        return total.digest()


_Kind = tuple[str, tuple[int, ...]]  # dtype and shape


def that_differ(folder: Path) -> tuple[Path, Path] | None:
    """Return the file and the index of two whole sets of weights that differ; the first is what transformers loads.

    Names are not compared, because they depend on the version that wrote a file. Weights that differ are told after a
    few reads, because small tensors come first; if all are equal, both sets are read to their end.

    Raises:
        DataError: the set that transformers loads is damaged. Damaged shards beside it are not a set.
    """
    single, index = folder / WEIGHTS, folder / INDEX
    if weights_entry(folder) != single or not index.is_file():
        return None
    try:
        shards = files_of(index)
        state = tuple((path, path.stat().st_mtime_ns) for path in (single, index, *shards))
    except (DataError, OSError):
        return None
    return (single, index) if shards and _differ(single, tuple(shards), state) else None


@cache
def _differ(single: Path, shards: tuple[Path, ...], state: object) -> bool:
    """Whether two sets differ; ``state`` changes if a file does, so that a command reads 14 GB once and not twice."""
    own = _kinds([single])
    try:
        other = _kinds(shards)
    except DataError:
        return False
    return not _equal(own, other)


def _kinds(files: Iterable[Path]) -> Mapping[_Kind, list[_Part]]:
    found: dict[_Kind, list[_Part]] = defaultdict(list)
    for file in files:
        entries, start = header(file)
        for entry in entries.values():
            begin, end = entry["data_offsets"]
            found[entry["dtype"], tuple(entry["shape"])].append(_Part(file, start + begin, start + end))
    return found


def _equal(own: Mapping[_Kind, list[_Part]], other: Mapping[_Kind, list[_Part]]) -> bool:
    if {kind: len(parts) for kind, parts in own.items()} != {kind: len(parts) for kind, parts in other.items()}:
        return False
    kinds = sorted(own, key=lambda kind: own[kind][0].end - own[kind][0].begin)
    return all(
        sorted(part.digest() for part in own[kind]) == sorted(part.digest() for part in other[kind]) for kind in kinds
    )
