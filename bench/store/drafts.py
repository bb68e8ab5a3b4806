"""Write files and folders atomically: a reader finds the whole old content or the whole new content.

Object stores cannot rename, so a file for a URL is written on this machine and committed by a single upload.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.errors import WriteError
from bench.store.disk_errors import code_of, write_error, writing
from bench.store.places import PREFIX, fetched, is_remote, remove

CORRUPT = ".corrupt"  # the end of the name of a damaged file or folder that was set aside

_DRAFT = re.compile(r"\.(\d+)\.(?:tmp|part)$")  # with the number of a process; .part is that of a task
_STAGE = re.compile(r"^\.(\d+)\.tmp$")


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
    with TemporaryDirectory(prefix=PREFIX) as scratch:
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
    with TemporaryDirectory(prefix=PREFIX) as scratch:
        yield Path(scratch)
        _send(Path(scratch), folder)


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


def _send(source: Path, path: Path) -> None:
    """Upload a local file, or the files of a local folder in the order of their names."""
    for file in _files(source):
        _upload(file, path / file.relative_to(source).as_posix() if source.is_dir() else path)


def _upload(file: Path, path: Path) -> None:
    files: Any = path
    try:
        files.fs.put_file(str(file), files.path)
    except FileNotFoundError:  # this file system has folders
        files.fs.makedirs(files.parent.path, exist_ok=True)
        files.fs.put_file(str(file), files.path)
