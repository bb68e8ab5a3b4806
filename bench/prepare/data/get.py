"""Fetch what tasks need: say what it takes, refuse what does not fit, and leave alone what is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.console import agreed, say, tell
from bench.errors import DataError, UsageError
from bench.plugins.task import Download, Task
from bench.prepare.data import checksums, pictures
from bench.prepare.data.fetch import Expected, fetch, part_size, size_of
from bench.prepare.data.progress import meter
from bench.prepare.data.unpack import unpack, unpacked_size
from bench.sizes import readable_size

KEEP_FREE = 1_000_000_000  # bytes that a disk should have left
_PICTURE = 30_000  # bytes of a picture whose size nobody says
_ASKED_AT_ONCE = 8  # servers that are asked for sizes


@dataclass(frozen=True, slots=True)
class Item:
    """A file to bring, with its bytes as far as known, and those of it that are here already."""

    download: Download
    size: int
    here: int

    @property
    def unpacked(self) -> int:
        """How many bytes stay in the end."""
        return 0 if self.download.unpacks_to is None else max(self.download.unpacked, self.size)


@dataclass(frozen=True, slots=True)
class Bill:
    """What a fetch will bring, what a person has to, and what is there."""

    items: tuple[Item, ...]
    by_hand: tuple[Download, ...]
    there: tuple[Download, ...]

    @property
    def transfer(self) -> int:
        """How many bytes come over the network."""
        return sum(max(0, item.size - item.here) for item in self.items)

    @property
    def space(self) -> int:
        """How many more bytes the disk has to have at the worst moment: a zip goes when its files are out."""
        stay = sum(item.unpacked or item.size - item.here for item in self.items)
        return stay + max((item.size for item in self.items if item.unpacked), default=0)


def bill(root: Path, downloads: Sequence[Download]) -> Bill:
    """Return what has to be brought so that all downloads are there; sizes are the server's where it says them."""
    there, by_hand, wanted = [], [], []
    for download in dict.fromkeys(downloads):
        _check_path(download)
        if checksums.is_there(root, download):
            there.append(download)
        elif download.by_hand:
            by_hand.append(download)
        else:
            wanted.append(download)
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:  # a network that is down answers none of them for long
        items = pool.map(lambda download: _item(root, download), wanted)
    return Bill(tuple(items), tuple(by_hand), tuple(there))


def check_space(root: Path, needed: int) -> None:
    """Refuse what does not fit on the disk.

    Raises:
        UsageError: it does not; the message says how much room to make.
    """
    free = free_bytes(root)
    if needed + KEEP_FREE > free:
        raise UsageError(
            f"This takes {readable_size(needed)} and leaves less than {readable_size(KEEP_FREE)} of the "
            f"{readable_size(free)} free in {root}. Make room, or name another folder with --data DIR."
        )


def free_bytes(root: Path) -> int:
    """Return the free bytes of the disk that a folder lies on, or will lie on."""
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    return shutil.disk_usage(there).free


def bring(root: Path, item: Item) -> None:
    """Fetch and unpack one item, and write down what it was; a zip that was put there by hand is unpacked and kept.

    Raises:
        DataError: it cannot be had, is not what it should be, or does not fit.
    """
    download, path = item.download, root / item.download.path
    noted = checksums.entry_of(root, download)
    entry = checksums.taken(path, download, noted) if path.is_file() else None
    by_hand = entry is not None and noted is None
    if entry is None:
        with meter(f"fetch {download.path}", item.size or None, item.here) as advance:
            entry = fetch(download.url, path, _expected(root, download, noted), advance)
        checksums.note(root, download, entry)
    if download.unpacks_to is not None:
        with meter(f"unpack {download.path}", unpacked_size(path)) as advance:
            members = unpack(path, advance)
        if not any(Path(download.unpacks_to).name in Path(name).parts for name in members):
            raise DataError(f"{path} does not hold {Path(download.unpacks_to).name}. Delete it and fetch it again.")
        checksums.note_members(root, download, members)
        if not by_hand:
            path.unlink()


def bring_pictures(root: Path, task: Task, *, yes: bool) -> bool:
    """Fetch the single pictures that a task's files name, asking first, and return whether some are still to come."""
    named = list(task.pictures())
    for picture in named:
        _check_path(picture)
    wanted = pictures.missing(root, named)
    if not wanted:
        return False
    size = sum(picture.size or _PICTURE for picture in wanted)
    tell([f"  fetch    {task.name}'s {len(wanted):,} single pictures (about {readable_size(size)})"])
    check_space(root, size)
    if not yes and not agreed("Fetch? [y/N] "):
        return True
    with meter(f"fetch {task.name}'s pictures", len(wanted), counted=True) as advance:
        tally = pictures.fetch_all(root, wanted, advance)
    say(
        f"{task.name}: {tally.came:,} pictures came, {len(tally.dead):,} are gone for good,"
        f" {len(tally.failed):,} failed."
    )
    for name, reason in list({**tally.failed, **tally.dead}.items())[:3]:
        say(f"  {name}: {reason}")
    return bool(tally.failed)


def lines(made: Bill, root: Path) -> Iterator[str]:
    """Yield what a bill says, for people."""
    for download in made.there:
        yield f"  there    {download.unpacks_to or download.path}"
    for item in made.items:
        whole = item.here == item.size and (root / item.download.path).is_file()
        part = f", {readable_size(item.here)} of it here" if item.here and not whole else ""
        size = readable_size(item.size) if item.size else "size unknown"
        yield f"  {'unpack' if whole else 'fetch':8} {item.download.path} ({size}{part})  {item.download.url}"
    for download in made.by_hand:
        yield f"  by hand  {download.path}: put it there from {download.url}"
    if made.items:
        yield (
            f"{readable_size(made.transfer)} to fetch; takes up to {readable_size(made.space)} of the"
            f" {readable_size(free_bytes(root))} free in {root}."
        )


def _item(root: Path, download: Download) -> Item:
    path = root / download.path
    if download.unpacks_to is not None and path.is_file():
        size = path.stat().st_size
        return Item(download, size, size)
    size = size_of(download.url) or download.size
    return Item(download, size, min(part_size(path), size) if size else 0)


def _expected(root: Path, download: Download, entry: checksums.FetchedFile | None) -> Expected | None:
    if download.sha256 is not None:
        return Expected(download.sha256, "its owner has published")
    if entry is None:
        return None
    file = checksums.file_of(root, download)
    return Expected(entry.sha256, f"{file} has from the first time (delete that line to take the new file)")


def _check_path(download: Download) -> None:
    path = Path(download.path)
    if path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
        raise DataError(f"{download.path!r} from {download.url} is no place in the folder of data. Correct its record.")
