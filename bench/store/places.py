"""Name the folders that commands write to: a path on disk, or any fsspec URL.

A place at a URL is universal_pathlib's ``UPath``, which acts like a ``Path`` but is not a subclass of it.
"""

from __future__ import annotations

import re
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
from bench.store.disk_errors import writing

PREFIX = "bench-"  # of temporary folders


def place(text: str) -> Path:
    """Return a folder as it is named on the command line: a path, or a URL such as s3://bucket/runs.

    Raises:
        UsageError: the path is too long, no installed package can read the URL, or a URL of this machine names no
            folder.
    """
    if "://" not in text:
        return _possible(local_path(text))
    if text.startswith("file://"):
        parts = urlsplit(text)
        if parts.netloc or not parts.path or "?" in text or "#" in text:
            raise UsageError(f"{text} is not the URL of a folder. Give file:///PATH, with %3F for ? and %23 for #.")
        return _possible(Path(url2pathname(parts.path)))
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


def _possible(path: Path) -> Path:
    """Return a path that may exist.

    Raises:
        UsageError: a name in the path is too long, or a folder above it may not be searched.
    """
    try:
        path.exists()
    except OSError as error:
        raise UsageError(f"{path} cannot be used ({error.strerror}). Choose another folder.") from error
    return path


def local_path(text: str) -> Path:
    """Return a path as it is named on the command line; a shell does not expand the ~ of ``--output=~/runs``."""
    return Path(text).expanduser() if re.match(r"~(/|$)", text) else Path(text)


def is_remote(path: Path) -> bool:
    """Return whether a path is remote: no directories, no locks, no rename."""
    return not isinstance(path, Path)


@contextmanager
def fetched(path: Path) -> Iterator[Path]:
    """Yield ``path`` itself, or a local copy of a remote file or folder until the context ends."""
    if not is_remote(path):
        yield path
        return
    with TemporaryDirectory(prefix=PREFIX) as scratch:
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
    """Create a folder, unless it is at a URL.

    Raises:
        WriteError: the disk refuses the folder.
    """
    if not is_remote(folder):
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
