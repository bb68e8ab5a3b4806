"""Read and write a run folder, on disk or at any fsspec URL. Every write is atomic.

A place at a URL is universal_pathlib's ``UPath``, which acts like a ``Path`` but is not a subclass of it. Object
stores cannot rename, so a file for a URL is written on this machine and committed by a single upload.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bench.errors import UsageError, one_line, without_password

_PREFIX = "bench-"


def place(text: str) -> Path:
    """Return a folder as it is named on the command line: a path, or a URL such as s3://bucket/runs.

    Raises:
        UsageError: no installed package can read the URL.
    """
    if "://" not in text:
        return Path(text)
    if text.startswith("file://"):
        return Path(url2pathname(urlsplit(text).path))
    try:
        from upath import UPath
    except ImportError as error:
        raise UsageError(
            f"{without_password(text)} is a URL and needs the extra [remote]: pip install 'retain-bench[remote]'."
        ) from error
    try:
        # Other processes write there too, so that a cached listing would be out of date.
        return cast(Path, UPath(text, use_listings_cache=False))
    except ValueError as error:
        raise UsageError(
            f"fsspec cannot read {without_password(text)} ({error}). Check the protocol of the URL."
        ) from error


def is_remote(path: Path) -> bool:
    """Return whether a path is remote: no directories, no locks, no rename."""
    return not isinstance(path, Path)


def check(path: Path, option: str) -> None:
    """Refuse a URL that cannot be reached.

    Raises:
        UsageError: the package of the URL is missing, or its server does not answer; the message names ``option``.
    """
    try:
        path.exists()
    except Exception as error:  # a driver of a file system may raise anything
        raise _unreachable(path, option, error) from error


def probe(path: Path, option: str) -> None:
    """Write an object at a URL and delete it again.

    Raises:
        UsageError: writing is not allowed.
    """
    mark = path / f".write-{os.getpid()}"
    try:
        put(mark, b"")
        remove(mark)
    except Exception as error:  # a driver of a file system may raise anything
        raise _unreachable(path, option, error) from error


def _unreachable(path: Path, option: str, error: Exception) -> UsageError:
    return UsageError(
        f"{option} {without_password(str(path))} cannot be used ({one_line(error)}). "
        "Check the address, its Python package and your credentials."
    )


def put(path: Path, data: bytes) -> None:
    """Write a file atomically: a reader finds either the whole old content or the whole new content."""
    with drafted(path) as draft, draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, text: str) -> None:
    """Write a text file atomically."""
    put(path, text.encode())


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """Yield the path of a draft; when the context ends, rename or upload the draft to ``path``."""
    if not is_remote(path):
        yield (draft := draft_of(path))
        draft.replace(path)
        return
    with TemporaryDirectory(prefix=_PREFIX) as scratch:
        yield (draft := Path(scratch) / path.name)
        _upload(draft, path)


def draft_of(path: Path) -> Path:
    """Return the path of a draft, one for each process, because a dying process may still be writing."""
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield a local folder to write into; when the context ends, its files are in ``folder``.

    On a disk this is ``folder`` itself. For a URL the files are uploaded in the order of their names.
    """
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with TemporaryDirectory(prefix=_PREFIX) as scratch:
        yield Path(scratch)
        upload(Path(scratch), folder)


def upload(source: Path, folder: Path) -> None:
    """Upload every file of a local folder, in the order of the names."""
    for file in sorted(part for part in source.rglob("*") if part.is_file()):
        _upload(file, folder / file.relative_to(source).as_posix())


@contextmanager
def fetched(path: Path) -> Iterator[Path]:
    """Yield ``path`` itself, or a local copy of a remote file or folder until the context ends."""
    if not is_remote(path):
        yield path
        return
    with TemporaryDirectory(prefix=_PREFIX) as scratch:
        files: Any = path
        copy = Path(scratch) / path.name
        for name in files.fs.find(files.path):
            file = copy / name.removeprefix(files.path).lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            files.fs.get_file(name, str(file))
        yield copy


def modified(path: Path) -> float:
    """Return when a file was written, in seconds since 1970, or now if the file system cannot say."""
    if not is_remote(path):
        return path.stat().st_mtime
    files: Any = path
    try:
        return float(files.fs.modified(files.path).timestamp())
    except NotImplementedError:
        return time.time()


def remove(path: Path) -> None:
    """Delete a file or a whole folder, if it exists."""
    if is_remote(path):
        files: Any = path
        with suppress(FileNotFoundError):
            files.fs.rm(files.path, recursive=True)
    elif path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def make(folder: Path) -> None:
    """Create a folder, unless it is at a URL."""
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _upload(file: Path, path: Path) -> None:
    files: Any = path
    try:
        files.fs.put_file(str(file), files.path)
    except FileNotFoundError:  # this file system has folders
        files.fs.makedirs(path.parent.path, exist_ok=True)  # type: ignore[attr-defined]
        files.fs.put_file(str(file), files.path)
