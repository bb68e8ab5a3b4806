"""Unpack a zip into its own folder; write no incomplete file, and no file outside that folder."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from bench.errors import DataError
from bench.prepare.data.progress import meter
from bench.sizes import in_unit
from bench.store.drafts import drafted

_KEEP_FREE = 100_000_000  # bytes


def unpack(path: Path, name: str) -> dict[str, int]:
    """Unpack a zip into its own folder and return the sizes of its files by name; skip complete files.

    The progress is shown with ``name``. The CRC of every file is verified. If a name leads out of the folder, a file is
    a link, or the files do not fit on the disk, the whole zip is refused before anything is written.

    Raises:
        DataError: the zip is refused or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            with meter(f"unpack {name}", sum(member.file_size for member in members)) as advance:
                _check_names(path, members)
                _check_space(path, members)
                for member in members:
                    _write(archive, member, path.parent / member.filename)
                    advance(member.file_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{path} cannot be unpacked: {error}. Delete it and download it again.") from error
    return {member.filename: member.file_size for member in members}


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    if target.is_file() and target.stat().st_size == member.file_size:
        return
    with drafted(target, lasting=False) as draft, archive.open(member) as source, draft.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def _check_names(path: Path, members: list[zipfile.ZipInfo]) -> None:
    for member in members:
        name = PurePosixPath(member.filename)
        leads_out = name.is_absolute() or ".." in name.parts or "\\" in member.filename or ":" in name.parts[0]
        if leads_out or stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(
                f"{path} contains {member.filename!r}, which leads out of its folder. Nothing was unpacked."
            )


def _check_space(path: Path, members: list[zipfile.ZipInfo]) -> None:
    missing = [member for member in members if not (path.parent / member.filename).is_file()]
    needed, free = sum(member.file_size for member in missing), shutil.disk_usage(path.parent).free
    if needed + _KEEP_FREE > free:
        raise DataError(
            f"{path} needs {in_unit(needed, 'GB')} unpacked, but {path.parent} has only {in_unit(free, 'GB')} free. "
            "Make room."
        )
