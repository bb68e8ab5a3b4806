"""Read and write a run folder, on disk or at any fsspec URL. Every write is atomic.

A place at a URL is universal_pathlib's ``UPath``, which acts like a ``Path`` but is not a subclass of it. Object
stores cannot rename, so a file for a URL is written on this machine and committed by a single upload.
"""

from __future__ import annotations

import os
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

from bench.errors import UsageError, WriteError, one_line, without_password
from bench.store.disk_errors import code_of, write_error, writing

CORRUPT = ".corrupt"  # the end of the name of a damaged file or folder that was set aside

_PREFIX = "bench-"
_DRAFT = re.compile(r"\.(\d+)\.(?:tmp|part)$")  # with the number of a process; .part is that of a task
_STAGE = re.compile(r"^\.(\d+)\.tmp$")


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
    """Write a file atomically: a reader finds either the whole old content or the whole new content.

    Raises:
        WriteError: the disk refuses the file.
    """
    with drafted(path) as draft:
        draft.write_bytes(data)


def replace_file(path: Path, text: str) -> None:
    """Write a text file atomically.

    Raises:
        WriteError: the disk refuses the file.
    """
    put(path, text.encode())


@contextmanager
def drafted(path: Path, *, lasting: bool = True) -> Iterator[Path]:
    """Yield the path of a draft; when the context ends, rename or upload the draft to ``path``.

    The draft is a file, or a folder that replaces a whole folder. If the context raises, the draft is deleted and
    ``path`` stays as it is. A ``lasting`` file is on the disk before it is renamed, so that not even a power cut leaves
    a part of it; for thousands of files that can be made again, this takes too long.

    Raises:
        WriteError: the disk refuses the file.
    """
    if not is_remote(path):
        with _draft(draft_of(path), path, every=True) as draft:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield draft
            for file in _files(draft) if lasting else ():
                _sync(file)
            if draft.is_dir():
                remove(path)
            draft.replace(path)
        return
    with TemporaryDirectory(prefix=_PREFIX) as scratch:
        yield (draft := Path(scratch) / path.name)
        _send(draft, path)


def draft_of(path: Path) -> Path:
    """Return the path of a draft, one for each process, because a dying process may still be writing."""
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield an empty local folder to write into; when the context ends, its files are in ``folder``.

    On a disk it is inside ``folder``, and its files are renamed. For a URL they are uploaded in the order of their
    names. If the context raises, ``folder`` stays as it is.

    Raises:
        WriteError: the disk refuses a file.
    """
    if not is_remote(folder):
        with _draft(folder / f".{os.getpid()}.tmp", folder) as draft:
            with writing(folder):
                draft.mkdir(parents=True)
            yield draft
            with writing(folder):
                _move(draft, folder)
        return
    with TemporaryDirectory(prefix=_PREFIX) as scratch:
        yield Path(scratch)
        _send(Path(scratch), folder)


def sweep(root: Path, age: float = 0.0) -> None:
    """Delete every draft whose process is gone, below a local folder that holds only files of the program.

    A folder without a lock may have a draft of another machine's process, so there a draft must be ``age`` seconds old.
    """
    for place, folders, files in os.walk(root):
        for name in (*folders, *files):
            _sweep(Path(place) / name, _DRAFT, age)


def sweep_stages(folder: Path) -> None:
    """Delete what killed commands have staged for a local folder, which may hold files of the user."""
    for path in folder.iterdir() if folder.is_dir() else ():
        _sweep(path, _STAGE)


def _sweep(path: Path, names: re.Pattern[str], age: float = 0.0) -> None:
    found = names.search(path.name)
    if found is None or _lives(pid := int(found[1])):
        return
    with suppress(FileNotFoundError, PermissionError):  # deleted in the meantime, or another user's
        if pid == os.getpid() or time.time() - path.stat().st_mtime >= age:
            remove(path)


def _lives(pid: int) -> bool:
    """Return whether another process with this number lives; this process sweeps only when it writes nothing."""
    return pid != os.getpid() and (Path(f"/proc/{pid}").exists() or not Path("/proc/self").exists())


@contextmanager
def _draft(draft: Path, path: Path, *, every: bool = False) -> Iterator[Path]:
    """Yield a path at which nothing is, and delete what is left there when the context ends.

    What a disk refuses becomes a WriteError; ``every`` OSError does if the context only writes ``path``.
    """
    _discard(draft)
    try:
        yield draft
    except WriteError:
        raise
    except Exception as error:
        own = every and isinstance(error, OSError) and _is_about(error, draft)
        code = error.errno if own and isinstance(error, OSError) else code_of(error, path.parent)
        _discard(draft)  # before the free space is counted
        if code is None:
            raise
        raise write_error(code, path) from error
    finally:
        _discard(draft)


def _is_about(error: OSError, draft: Path) -> bool:
    """Whether an error may be about writing a draft: it names the draft or its folder, or no file."""
    return error.filename is None or Path(str(error.filename)) in (draft, draft.parent)


def _discard(draft: Path) -> None:
    with suppress(OSError):
        remove(draft)


def _move(draft: Path, folder: Path) -> None:
    """Move the files of a draft into a folder, once all of them are on the disk."""
    files = {file: folder / file.relative_to(draft) for file in _files(draft)}
    for file, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _sync(file)
    for file, path in files.items():
        file.replace(path)


def _files(path: Path) -> list[Path]:
    """Return the files of a local folder in the order of their names, or the file itself."""
    return sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]


def _sync(file: Path) -> None:
    """Wait until a file is on the disk; some disks refuse a file only now."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


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


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder, in place of an earlier one, and return its new path: NAME.corrupt.

    Raises:
        WriteError: the disk refuses it.
    """
    aside = path.with_name(f"{path.name}{CORRUPT}")
    remove(aside)
    if is_remote(path):
        with fetched(path) as copy:
            _send(copy, aside)
        remove(path)
    else:
        with writing(path):
            path.replace(aside)
    return aside


def make(folder: Path) -> None:
    """Create a folder, unless it is at a URL.

    Raises:
        WriteError: the disk refuses the folder.
    """
    if not is_remote(folder):
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)


def _send(source: Path, path: Path) -> None:
    """Upload a local file, or the files of a local folder in the order of their names."""
    for file in _files(source):
        _upload(file, path / file.relative_to(source).as_posix() if source.is_dir() else path)


def _upload(file: Path, path: Path) -> None:
    files: Any = path
    try:
        files.fs.put_file(str(file), files.path)
    except FileNotFoundError:  # this file system has folders
        files.fs.makedirs(path.parent.path, exist_ok=True)  # type: ignore[attr-defined]
        files.fs.put_file(str(file), files.path)
