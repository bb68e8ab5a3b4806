"""Download many small images in parallel, and save which of them no longer exist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from http.client import HTTPException, IncompleteRead
from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from bench.errors import DataError
from bench.plugins.images import read_image
from bench.plugins.task import Download
from bench.prepare.data.fetch import Advance, promised_size, request
from bench.prepare.data.retries import Interrupted, asked_pause, retried, why
from bench.store.drafts import drafted
from bench.store.json_note import read_note, write_note

FILE = "dead.json"

_THREADS = 16
_WAITING = 4 * _THREADS
_TRIES = 3
_PAUSE_SECONDS = 1.0
_TIMEOUT_SECONDS = 30.0
_LARGEST = 50_000_000  # bytes; book covers are smaller
_GIVE_UP = 200  # failures in a row before the download is given up
_SAVE_EVERY = 500
_GONE = {400, 401, 403, 404, 410, 451}


@dataclass(slots=True)
class Tally:
    """The outcome of a download: the number of images that came, and the reasons for the others.

    ``dead`` images no longer exist; ``failed`` images may come another time. Both map a path to a reason.
    """

    came: int = 0
    dead: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def missing(root: Path, pictures: Sequence[Download]) -> list[Download]:
    """Return the images that are neither downloaded nor known to be dead."""
    folders = {Path(picture.path).parts[0] for picture in pictures}
    gone = {name for folder in folders for name in dead(root / folder)}
    return [picture for picture in pictures if picture.path not in gone and not (root / picture.path).is_file()]


def dead(folder: Path) -> dict[str, str]:
    """Return why images no longer exist, by their path under the data folder."""
    damaged = "{path} cannot be read: {error}. Delete it; its images are then requested again."
    found: dict[str, str] | None = read_note(folder / FILE, lambda data: data, damaged, DataError)
    return found or {}


def fetch_all(root: Path, pictures: Sequence[Download], advance: Advance = lambda count: None) -> Tally:
    """Download images in parallel and return the outcome; dead images are saved on the way.

    Raises:
        DataError: so many images failed in a row that the network or the server must be down.
    """
    tally, row = Tally(), 0
    try:
        for picture, reason, gone in _outcomes(root, pictures):
            row = 0 if not reason or gone else row + 1
            tally.came += not reason
            if reason:
                (tally.dead if gone else tally.failed)[picture.path] = reason
            advance(1)
            if gone and len(tally.dead) % _SAVE_EVERY == 0:
                _save(root, tally)
            if row >= _GIVE_UP:
                raise DataError(
                    f"{row} images in a row could not be downloaded. The last reason: {reason}. Try again later."
                )
    finally:
        _save(root, tally)
    return tally


def _outcomes(root: Path, pictures: Sequence[Download]) -> Iterator[tuple[Download, str, bool]]:
    """Yield each image, the reason why it failed ("" if it came), and whether it is dead."""
    rest = iter(pictures)
    running: dict[Future[tuple[str, bool]], Download] = {}
    pool = ThreadPoolExecutor(_THREADS)
    try:
        while True:
            while len(running) < _WAITING and (picture := next(rest, None)) is not None:
                running[pool.submit(_one, picture.url, root / picture.path)] = picture
            if not running:
                return
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                yield running.pop(future), *future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _one(url: str, path: Path) -> tuple[str, bool]:
    """Download an image; return the reason why it failed ("" if it came), and whether it is dead."""
    try:
        return retried(lambda: _transfer(url, path), _TRIES, _PAUSE_SECONDS)
    except Interrupted as interrupted:
        return interrupted.reason, False


def _transfer(url: str, path: Path) -> tuple[str, bool]:
    """Try once what ``_one`` tries several times.

    Raises:
        Interrupted: the download failed for a reason that may pass.
    """
    try:
        return _keep(_content(url), path)
    except HTTPError as error:
        error.close()
        reason = f"the server answers {error.code} {error.reason}"
        if error.code in _GONE:
            return reason, True
        raise Interrupted(reason, asked_pause(error.headers)) from None
    except (OSError, HTTPException) as error:
        raise Interrupted(why(error)) from None
    except ValueError as error:  # not a valid address
        return str(error), True


def _content(url: str) -> bytes:
    with urlopen(request(url), timeout=_TIMEOUT_SECONDS) as answer:
        content: bytes = answer.read(_LARGEST)
        promised = promised_size(answer)
    if promised is not None and len(content) != promised:
        raise IncompleteRead(content, promised - len(content))
    return content


def _keep(content: bytes, path: Path) -> tuple[str, bool]:
    """Write an image if it can be decoded; a shop may send one pixel in place of a deleted image."""
    image = read_image(BytesIO(content))
    if isinstance(image, str):
        return f"it {image}", True
    if max(image.size) <= 1:
        return "it is a single pixel", True
    with drafted(path, lasting=False) as draft:
        draft.write_bytes(content)
    return "", False


def _save(root: Path, tally: Tally) -> None:
    folders = {Path(name).parts[0] for name in tally.dead}
    for folder in folders:
        own = {name: reason for name, reason in tally.dead.items() if Path(name).parts[0] == folder}
        write_note(root / folder / FILE, {**dead(root / folder), **own}, sort_keys=True)
