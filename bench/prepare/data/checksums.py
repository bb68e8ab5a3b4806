"""Read and write ``checksums.json``, the sizes and checksums of the downloaded files of a data folder."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.errors import DataError, UsageError
from bench.file_digests import of_files
from bench.plugins.task import Download
from bench.store.drafts import sweep
from bench.store.json_note import read_note, write_note
from bench.store.lock import disk_lock

FILE = "checksums.json"
_OLD = 3600.0  # seconds after which the draft of a process that is not here counts as dead


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A downloaded file: its address, its size in bytes, and its SHA-256 in hexadecimal."""

    url: str
    size: int
    sha256: str


@contextmanager
def held(root: Path) -> Iterator[None]:
    """Hold a data folder for one command at a time, so that no two commands write the same file.

    Raises:
        UsageError: the folder cannot be written to, or another command holds it.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = disk_lock(root, UsageError(f"Another bench data get is working in {root}. Wait until it ends."))
    except OSError as error:
        raise UsageError(f"Cannot write to --data {root}: {error.strerror}. Choose another folder.") from error
    with lock:
        sweep(root, _OLD)
        try:
            yield
        finally:
            sweep(root, _OLD)  # tasks that read the hub write drafts of their own


def entry_of(root: Path, download: Download) -> FetchedFile | None:
    """Return the entry of a download in ``checksums.json``, or None.

    Raises:
        DataError: ``checksums.json`` cannot be read.
    """
    found = _json(file_of(root, download)).get(download.path)
    return None if found is None else FetchedFile(**found)


def note(root: Path, download: Download, entry: FetchedFile) -> None:
    """Write the entry of a download into ``checksums.json``."""
    entries = {**_json(file_of(root, download)), download.path: asdict(entry)}
    write_note(file_of(root, download), entries, sort_keys=True)


def note_members(root: Path, download: Download, members: Mapping[str, int]) -> None:
    """Write the names and sizes of the files of a zip into a list next to the zip."""
    write_note(_list(root, download), members, indent=0, sort_keys=True)


def is_there(root: Path, download: Download) -> bool:
    """Whether a download is complete, so that it need not be downloaded again.

    A file is verified with its published checksum, otherwise with its entry in ``checksums.json``. A file without
    either counts as complete. The files of a zip are compared with the list of their sizes.
    """
    if download.unpacks_to is not None:
        return _is_unpacked(root, download, download.unpacks_to)
    path = root / download.path
    if not path.is_file():
        return False
    entry = entry_of(root, download)
    expected = download.sha256 or (entry and entry.sha256)
    return expected is None or of_files([path])[path].hex() == expected


def taken(path: Path, download: Download, noted: FetchedFile | None) -> FetchedFile | None:
    """Return the entry for an existing file, or None if its checksum is wrong or it is not a valid zip."""
    digest = of_files([path])[path].hex()
    expected = download.sha256 or (noted and noted.sha256)
    if (expected is not None and digest != expected) or (path.suffix == ".zip" and not zipfile.is_zipfile(path)):
        return None
    return FetchedFile(download.url, path.stat().st_size, digest)


def _is_unpacked(root: Path, download: Download, target: str) -> bool:
    members = _list(root, download)
    if not members.is_file():  # a zip that bench downloaded is then not completely unpacked; a person may have done it
        return (root / target).exists() and entry_of(root, download) is None
    folder = (root / download.path).parent
    try:
        return all((folder / name).stat().st_size == size for name, size in _json(members).items())
    except OSError:
        return False


def _json(path: Path) -> dict[str, Any]:
    unchecked = "Delete it; the files next to it are then not verified."
    found = read_note(path, lambda data: data, f"{{path}} cannot be read: {{error}}. {unchecked}", DataError)
    if found is not None and not isinstance(found, dict):
        raise DataError(f"{path} is not a list of files. {unchecked}")
    return found or {}


def file_of(root: Path, download: Download) -> Path:
    """Return the path of the ``checksums.json`` that has the entry of a download."""
    return root / Path(download.path).parts[0] / FILE


def _list(root: Path, download: Download) -> Path:
    path = root / download.path
    return path.with_name(f"{path.name}.files.json")
