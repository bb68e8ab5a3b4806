"""Download the files of tasks: show their size, refuse if they do not fit, and skip complete files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.console import agreed, say, tell, warn
from bench.errors import DataError, UsageError
from bench.plugins.task import Download, Task
from bench.prepare.data import checksums, pictures
from bench.prepare.data.fetch import fetch, part_size, size_of
from bench.prepare.data.progress import meter
from bench.prepare.data.unpack import unpack
from bench.sizes import readable_size

KEEP_FREE = 1_000_000_000  # bytes that a disk should have left
_PICTURE = 30_000  # assumed bytes of an image whose size is unknown
_ASKED_AT_ONCE = 8  # requests for sizes at the same time


@dataclass(frozen=True, slots=True)
class Item:
    """A file to download, its size if known (otherwise 0), and how much of it is already here."""

    download: Download
    size: int
    here: int

    @property
    def unpacked(self) -> int:
        """How many bytes the unpacked files take, or 0 if the file is not unpacked."""
        return 0 if self.download.unpacks_to is None else max(self.download.unpacked, self.size)


@dataclass(frozen=True, slots=True)
class Bill:
    """The files to download, the files that only a person can download, and the complete files."""

    items: tuple[Item, ...]
    by_hand: tuple[Download, ...]
    there: tuple[Download, ...]

    @property
    def transfer(self) -> int:
        """How many bytes will be downloaded."""
        return sum(max(0, item.size - item.here) for item in self.items)

    @property
    def space(self) -> int:
        """How many more bytes are used at the peak; a zip is deleted after it is unpacked."""
        stay = sum(item.unpacked or item.size - item.here for item in self.items)
        return stay + max((item.size for item in self.items if item.unpacked), default=0)


def bill(root: Path, downloads: Sequence[Download]) -> Bill:
    """Return which of the downloads are still missing; sizes come from the servers if possible."""
    there, by_hand, wanted = [], [], []
    for download in dict.fromkeys(downloads):
        _check_path(download)
        if checksums.is_there(root, download):
            there.append(download)
        elif download.by_hand:
            by_hand.append(download)
        else:
            wanted.append(download)
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:  # if the network is down, every request waits for its timeout
        items = pool.map(lambda download: _item(root, download), wanted)
    return Bill(tuple(items), tuple(by_hand), tuple(there))


def check_space(root: Path, needed: int) -> None:
    """Refuse a download that does not fit on the disk.

    Raises:
        UsageError: the disk has too little space.
    """
    free = free_bytes(root)
    if needed + KEEP_FREE > free:
        raise UsageError(
            f"This takes {readable_size(needed)} and leaves less than {readable_size(KEEP_FREE)} of the "
            f"{readable_size(free)} free in {root}. Make room, or name another folder with --data DIR."
        )


def free_bytes(root: Path) -> int:
    """Return the free bytes of the disk that holds a folder, or will hold it."""
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    return shutil.disk_usage(there).free


def bring(root: Path, item: Item) -> None:
    """Download and unpack one item and save its checksum; a zip that was put there by hand is kept.

    Raises:
        DataError: the item cannot be downloaded, has a wrong checksum or content, or does not fit.
    """
    download, path = item.download, root / item.download.path
    noted = checksums.entry_of(root, download)
    entry = checksums.taken(path, download, noted) if path.is_file() else None
    by_hand = entry is not None and noted is None
    if entry is None:
        with meter(f"download {download.path}", item.size or None, item.here) as advance:
            entry = fetch(download.url, path, _expected(root, download, noted), advance)
        checksums.note(root, download, entry)
    if download.unpacks_to is not None:
        members = unpack(path, download.path)
        if not any(Path(download.unpacks_to).name in Path(name).parts for name in members):
            raise DataError(
                f"{path} does not contain {Path(download.unpacks_to).name}. Delete it and download it again."
            )
        checksums.note_members(root, download, members)
        if not by_hand:
            path.unlink()


def bring_pictures(root: Path, task: Task, *, yes: bool) -> bool:
    """Download the single images of a task, after asking, and return whether some are still missing."""
    named = list(task.pictures())
    for picture in named:
        _check_path(picture)
    wanted = pictures.missing(root, named)
    if not wanted:
        return False
    size = sum(picture.size or _PICTURE for picture in wanted)
    tell([f"  download {len(wanted):,} single images of {task.name} (about {readable_size(size)})"])
    check_space(root, size)
    if not yes and not agreed("Download? [y/N] "):
        return True
    with meter(f"download the images of {task.name}", len(wanted), counted=True) as advance:
        tally = pictures.fetch_all(root, wanted, advance)
    say(
        f"{task.name}: {tally.came:,} images downloaded, {len(tally.dead):,} no longer exist,"
        f" {len(tally.failed):,} failed."
    )
    for name, reason in list({**tally.failed, **tally.dead}.items())[:3]:
        warn(f"  {name}: {reason}")
    return bool(tally.failed)


def lines(made: Bill, root: Path) -> Iterator[str]:
    """Yield a bill as lines for the terminal."""
    for download in made.there:
        yield f"  present  {download.unpacks_to or download.path}"
    for item in made.items:
        whole = item.here == item.size and (root / item.download.path).is_file()
        part = f", {readable_size(item.here)} already here" if item.here and not whole else ""
        size = readable_size(item.size) if item.size else "size unknown"
        yield f"  {'unpack' if whole else 'download':8} {item.download.path} ({size}{part})  {item.download.url}"
    for download in made.by_hand:
        yield f"  by hand  {download.path}: put it there from {download.url}"
    if made.items:
        yield (
            f"{readable_size(made.transfer)} to download; this takes up to {readable_size(made.space)} of the"
            f" {readable_size(free_bytes(root))} free in {root}."
        )


def _item(root: Path, download: Download) -> Item:
    path = root / download.path
    if download.unpacks_to is not None and path.is_file():
        size = path.stat().st_size
        return Item(download, size, size)
    size = size_of(download.url) or download.size
    return Item(download, size, min(part_size(path), size) if size else 0)


def _expected(root: Path, download: Download, entry: checksums.FetchedFile | None) -> tuple[str, str] | None:
    """Return the SHA-256 that a download must have, and where it comes from."""
    if download.sha256 is not None:
        return download.sha256, "its owner published"
    if entry is None:
        return None
    file = checksums.file_of(root, download)
    return entry.sha256, f"noted in {file} (delete that line to accept the new file)"


def _check_path(download: Download) -> None:
    path = Path(download.path)
    if path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
        raise DataError(
            f"{download.path!r} from {download.url} is not a path in a task's data folder. Correct the task's card."
        )
