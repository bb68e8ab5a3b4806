"""Find out whether an error means that a disk takes no more files, and say it in one line.

A full disk hides behind many errors: safetensors and SQLite raise their own, torch raises RuntimeError, and Ray, MLflow
and Optuna wrap what others have raised. So the whole chain of an error is searched.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import DiskFullError, WriteError
from bench.sizes import MB, in_unit

_REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # no call raises these for any other reason than a write
_LITTLE = 4 * MB  # a disk with less free space is full, if a write to it has failed
_CODE = re.compile(r"\[Errno (\d+)\]|\(os error (\d+)\)")  # how Python and Rust print the error of a system call
_SQLITE_FULL = "database or disk is full"
_HIDDEN = re.compile(  # a full disk is one of several reasons for these
    r"inline_container|iostream error|disk I/O error|unable to open database file|No usable temporary directory"
)
_AGAIN = "then run the same command again; it keeps what is finished."


def refusal(error: BaseException, folder: Path | None = None) -> WriteError | None:
    """Return the error that stops the command if ``error`` means that a disk takes no more files, otherwise None.

    ``folder`` is where the command writes. The message names that folder or the one for temporary files, or the folder
    of the file that the error names.
    """
    known = next((part for part in _chain(error) if isinstance(part, WriteError)), None)
    if known is not None:
        return known
    for part in _chain(error):
        named = _named(part)
        if (code := _code(part)) is not None:
            return write_error(code, named or _fullest(folder))
        if _HIDDEN.search(str(part)) and (full := starved(named or folder) or starved(_scratch())):
            return full
    return None


def code_of(error: BaseException, folder: Path) -> int | None:
    """Return the errno with which a disk refused a file in ``folder``, or None if the error has another reason."""
    for part in _chain(error):
        if (code := _code(part)) is not None:
            return code
        if _HIDDEN.search(str(part)) and starved(folder):
            return errno.ENOSPC
    return None


def _code(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno in _REFUSED:
        return error.errno
    if _SQLITE_FULL in str(error):
        return errno.ENOSPC
    codes = {int(first or second) for first, second in _CODE.findall(str(error))}
    return min(codes & _REFUSED, default=None)


def starved(folder: Path | None) -> DiskFullError | None:
    """Return the error of a full disk if a folder has less than 4 MB free, otherwise None."""
    if folder is None or not isinstance(folder, Path) or shutil.disk_usage(_existing(folder)).free >= _LITTLE:
        return None
    return _full(folder)


def write_error(code: int, path: Path) -> WriteError:
    """Return the error for an errno with which a disk refused a file or a folder."""
    place = path if path.is_dir() else path.parent
    if code == errno.ENOSPC:
        return _full(place)
    if code == errno.EDQUOT:
        return DiskFullError(f"The disk quota of {place} is used up.", f"Free some space, {_AGAIN}")
    return WriteError(f"{path} cannot be written: {os.strerror(code)}.", f"Correct this, {_AGAIN}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise WriteError for every OSError in this context, in which only ``path`` is written."""
    try:
        yield
    except OSError as error:
        raise write_error(error.errno or errno.EIO, path) from error


def _full(folder: Path) -> DiskFullError:
    place = _existing(folder)
    size, files = shutil.disk_usage(place).free, os.statvfs(place)
    free = f"The disk is full: {folder} has {in_unit(size, 'MB')} free"
    if files.f_files and not files.f_favail and size >= _LITTLE:
        return DiskFullError(f"{free}, but can hold no further file.", f"Delete some files, {_AGAIN}")
    return DiskFullError(f"{free}.", f"Free some space, {_AGAIN}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that led to it, also those of another process of Ray."""
    waiting, seen = [error], set[int]()
    while waiting:
        part = waiting.pop(0)
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        led = [part.__cause__, None if part.__suppress_context__ else part.__context__, getattr(part, "cause", None)]
        waiting += [item for item in led if isinstance(item, BaseException)]


def _named(error: BaseException) -> Path | None:
    """Return the folder of the file that an OSError names, or None."""
    name = error.filename if isinstance(error, OSError) else None
    return Path(os.fsdecode(name)).parent if isinstance(name, str | bytes) else None


def _fullest(folder: Path | None) -> Path:
    """Return the folder, or that of temporary files if the folder is at a URL or has more than a little space."""
    scratch = _scratch()
    if folder is None or not isinstance(folder, Path):
        return scratch
    return scratch if starved(scratch) and not starved(folder) else folder


def _scratch() -> Path:
    return Path(os.environ.get("TMPDIR") or tempfile.tempdir or "/tmp")  # gettempdir() avoids a full disk


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())
