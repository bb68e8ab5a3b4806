"""Download one file: resume an interrupted transfer, verify it, then move it into place."""

from __future__ import annotations

import hashlib
import http.client
import zipfile
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from bench.errors import DataError
from bench.prepare.data.checksums import FetchedFile
from bench.prepare.data.retries import Interrupted, asked_pause, retried, why
from bench.store.disk_errors import writing
from bench.store.drafts import replace_file
from bench.store.places import make

_TRIES = 5
_PAUSE_SECONDS = 1.0  # before the second try, then doubled each time
_TIMEOUT_SECONDS = 60.0
_CHUNK = 1 << 20
_PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
_UNREACHABLE = (URLError, http.client.HTTPException, OSError)

Advance = Callable[[int], None]


def size_of(url: str) -> int | None:
    """Return the size of a file as the server reports it, or None if the server does not say."""
    try:
        with urlopen(request(url, method="HEAD"), timeout=_TIMEOUT_SECONDS / 4) as answer:
            return promised_size(answer)
    except _UNREACHABLE:
        return None


def promised_size(answer: http.client.HTTPResponse) -> int | None:
    """Return the number of bytes that an answer announces, or None."""
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def fetch(
    url: str, path: Path, expected: tuple[str, str] | None = None, advance: Advance = lambda size: None
) -> FetchedFile:
    """Download a file to ``path`` and return its entry, resuming from ``path.part`` if it exists.

    ``expected`` is the SHA-256 that the file must have, in hexadecimal, and where it comes from, for messages.
    ``advance`` receives the number of new bytes, or a negative number if earlier bytes no longer count. A transfer
    that breaks off is retried, five tries in total. A transfer is resumed only if the ETag or the date from the server
    shows that the file is still the same.

    Raises:
        DataError: the server refuses or cannot be reached, or the file is not the expected one.
        WriteError: the disk refuses the file; what has come is kept.
    """
    make(path.parent)
    try:
        digest = retried(lambda: _transfer(url, path, advance), _TRIES, _PAUSE_SECONDS)
    except Interrupted as cut:
        raise DataError(
            f"{url} could not be downloaded in {_TRIES} tries: {cut.reason}. Run the command again to resume."
        ) from None
    part = _part(path)
    try:
        _check(url, path, digest, expected)
    except DataError:
        _forget(path)
        raise
    entry = FetchedFile(url, part.stat().st_size, digest)
    part.replace(path)
    _forget(path)
    return entry


def part_size(path: Path) -> int:
    """Return how many bytes of a file are already downloaded."""
    return _part(path).stat().st_size if _part(path).is_file() else 0


def _transfer(url: str, path: Path, advance: Advance) -> str:
    """Download the rest of a file into its part and return the SHA-256 of the whole file in hexadecimal.

    Raises:
        Interrupted: the transfer broke off.
        DataError: the server refuses.
    """
    start, tag = part_size(path), _read_tag(path)
    if start and tag is None:
        _forget(path)
        start = 0
    headers = {"Range": f"bytes={start}-", "If-Range": tag} if start and tag else {}
    try:
        with urlopen(request(url, headers=headers), timeout=_TIMEOUT_SECONDS) as answer:
            return _receive(answer, path, start, advance)
    except HTTPError as error:
        with error:
            return _refused(url, path, error, start)
    except _UNREACHABLE as error:
        raise Interrupted(why(error)) from None


def _receive(answer: http.client.HTTPResponse, path: Path, start: int, advance: Advance) -> str:
    part, promised = _part(path), promised_size(answer)
    if start and answer.status != HTTPStatus.PARTIAL_CONTENT:
        advance(-start)  # the server sends the whole file again
        start = 0
    digest, had = _digest_of(part) if start else hashlib.sha256(), start
    _write_tag(path, answer)
    with writing(part), part.open("ab" if start else "wb") as file:  # a retry would not help against this disk
        for chunk in _chunks(answer):
            file.write(chunk)
            digest.update(chunk)
            had += len(chunk)
            advance(len(chunk))
    if promised is not None and had != start + promised:
        raise Interrupted(f"the transfer stopped at {had} of {start + promised} bytes")
    return digest.hexdigest()


def _chunks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while chunk := answer.read(_CHUNK):
            yield chunk
    except _UNREACHABLE as error:
        raise Interrupted(why(error)) from None


def _refused(url: str, path: Path, error: HTTPError, start: int) -> str:
    """Return the digest of the part if it is already the whole file, otherwise raise the error."""
    if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
        if error.headers.get("Content-Range", "").endswith(f"/{start}"):
            return _digest_of(_part(path)).hexdigest()
        _forget(path)
        raise Interrupted("the file on the server is shorter than the part on this disk")
    if error.code in _PASSING or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Interrupted(f"the server answers {error.code} {error.reason}", asked_pause(error.headers))
    raise DataError(
        f"{url} cannot be downloaded: the server answers {error.code} {error.reason}. Put the file at {path} by hand."
    )


def _check(url: str, path: Path, digest: str, expected: tuple[str, str] | None) -> None:
    part = _part(path)
    if expected is not None and digest != expected[0]:
        raise DataError(f"{url} has SHA-256 {digest}, not {' as '.join(expected)}. It was deleted.")
    with part.open("rb") as file:
        start = file.read(64).lstrip()
    wrong = (path.suffix == ".zip" and not zipfile.is_zipfile(part)) or (
        path.suffix in {".json", ".jsonl"} and not start.startswith((b"{", b"["))
    )
    if wrong:
        raise DataError(f"{url} is not a {path.suffix[1:]} file (it starts with {start[:24]!r}). It was deleted.")


def _digest_of(path: Path) -> hashlib._Hash:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def request(url: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> Request:
    """Return a request whose User-Agent is retain-bench."""
    return Request(url, headers={"User-Agent": "retain-bench", **(headers or {})}, method=method)


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _tag(path: Path) -> Path:
    return path.with_name(f"{path.name}.part.tag")


def _read_tag(path: Path) -> str | None:
    return _tag(path).read_text(encoding="utf-8") if _tag(path).is_file() else None


def _write_tag(path: Path, answer: http.client.HTTPResponse) -> None:
    """Save the ETag or the date of a file, to see later if the file has changed; skip a weak ETag."""
    strong = answer.headers.get("ETag") or "W/"
    tag = answer.headers.get("Last-Modified") if strong.startswith("W/") else strong
    if tag:
        replace_file(_tag(path), tag)
    else:
        _tag(path).unlink(missing_ok=True)


def _forget(path: Path) -> None:
    _part(path).unlink(missing_ok=True)
    _tag(path).unlink(missing_ok=True)
