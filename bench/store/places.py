"""Where a run folder lies: on a disk, or at a URL that fsspec reads. What is put there is there whole, or not at all.

A place at a URL is universal_pathlib's ``UPath``, which acts as a ``Path`` but is none. No object store renames, so
nothing here asks it to: a file is written on this machine and committed by a single put.
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

from bench.errors import UsageError, without_password

_PREFIX = "bench-"


def place(text: str) -> Path:
    """Return a folder as it is named on the command line: a path, or a URL such as s3://bucket/runs.

    Raises:
        UsageError: it is a URL that nothing here can read.
    """
    if "://" not in text:
        return Path(text)
    if text.startswith("file://"):
        return Path(url2pathname(urlsplit(text).path))
    try:
        from upath import UPath
    except ImportError as error:
        raise UsageError(
            f"{without_password(text)} is a URL, which needs the extra [remote]: pip install 'retain-bench[remote]'."
        ) from error
    try:
        # Others write there too: a listing kept in this process would not know of it.
        return cast(Path, UPath(text, use_listings_cache=False))
    except ValueError as error:
        raise UsageError(f"{without_password(text)} is at no place that fsspec knows ({error}).") from error


def is_remote(path: Path) -> bool:
    """Whether a path is none of this machine's file system, and has no folders, locks and renames."""
    return not isinstance(path, Path)


def check(path: Path, option: str) -> None:
    """Refuse a URL that cannot be reached.

    Raises:
        UsageError: its package is missing, or its server does not answer; ``option`` is where it was named.
    """
    try:
        path.exists()
    except Exception as error:  # a driver of a file system may raise anything
        raise _unreachable(path, option, error) from error


def probe(path: Path, option: str) -> None:
    """Put an object at a URL and take it away again.

    Raises:
        UsageError: that is not allowed.
    """
    mark = path / f".write-{os.getpid()}"
    try:
        put(mark, b"")
        remove(mark)
    except Exception as error:  # a driver of a file system may raise anything
        raise _unreachable(path, option, error) from error


def _unreachable(path: Path, option: str, error: Exception) -> UsageError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UsageError(
        f"{option} {without_password(str(path))} cannot be used ({reason}). "
        "Look at the address, its Python package and your credentials."
    )


def put(path: Path, data: bytes) -> None:
    """Write a file in one step: whoever reads it finds the old content or the new one, whole."""
    with drafted(path) as draft, draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, text: str) -> None:
    """Write a text file in one step."""
    put(path, text.encode())


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """Yield where to write a file that is committed at the end: by renaming it, or by a single put."""
    if not is_remote(path):
        yield (draft := draft_of(path))
        draft.replace(path)
        return
    with TemporaryDirectory(prefix=_PREFIX) as scratch:
        yield (draft := Path(scratch) / path.name)
        _upload(draft, path)


def draft_of(path: Path) -> Path:
    """Return where a process writes before it renames: its own place, since a dying one may still be writing."""
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield a folder of this machine to write into; at the end its files are in ``folder``, put in their names' order.

    On a disk that is the folder itself.
    """
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with TemporaryDirectory(prefix=_PREFIX) as scratch:
        yield Path(scratch)
        upload(Path(scratch), folder)


def upload(source: Path, folder: Path) -> None:
    """Put every file of a folder of this machine, in the order of their names."""
    for file in sorted(part for part in source.rglob("*") if part.is_file()):
        _upload(file, folder / file.relative_to(source).as_posix())


@contextmanager
def fetched(path: Path) -> Iterator[Path]:
    """Yield a file or folder of this machine that holds what lies at ``path``; a copy goes at the end."""
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
    """Return when a file was written, in seconds since 1970; now, where its file system does not tell."""
    if not is_remote(path):
        return path.stat().st_mtime
    files: Any = path
    try:
        return float(files.fs.modified(files.path).timestamp())
    except NotImplementedError:
        return time.time()


def remove(path: Path) -> None:
    """Delete a file or a folder with all it holds, if it is there."""
    if is_remote(path):
        files: Any = path
        with suppress(FileNotFoundError):
            files.fs.rm(files.path, recursive=True)
    elif path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def make(folder: Path) -> None:
    """Create a folder where there are folders."""
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _upload(file: Path, path: Path) -> None:
    files: Any = path
    try:
        files.fs.put_file(str(file), files.path)
    except FileNotFoundError:  # a file system with folders
        files.fs.makedirs(path.parent.path, exist_ok=True)  # type: ignore[attr-defined]
        files.fs.put_file(str(file), files.path)
