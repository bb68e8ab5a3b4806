"""Find the line of a JSON document at which a record starts; only a message about a broken record asks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

_SPACE = re.compile(r"[ \t\n\r]*")


def record_line(file: Path, under: str | None, record: int | str) -> int | None:
    """Return the line, from 1, of a record of the list or mapping at the top of a document, or under ``under``.

    ``record`` is an index from 0, or a key. The result is None if the document has no such record, for example because
    the file has changed since it was read.
    """
    try:
        facts = file.stat()
        return _lines(file, under, (facts.st_mtime_ns, facts.st_size)).get(record)
    except (OSError, ValueError, IndexError, StopIteration):  # the file has changed, and may be cut off
        return None


@lru_cache(maxsize=8)
def _lines(file: Path, under: str | None, version: tuple[int, int]) -> dict[int | str, int]:
    """Return the line of each record by its index or key; ``version`` makes a changed file another one."""
    content = file.read_bytes()
    text = content.decode(json.detect_encoding(content), "surrogatepass")
    start = _skip(text, 0)
    if under is not None:
        start = next(value for key, _, value in _members(text, start) if key == under)
    lines: dict[int | str, int] = {}
    line, before = 1, 0
    for key, place, _ in _members(text, start):
        line += text.count("\n", before, place)
        before = place
        lines[key] = line
    return lines


def _members(text: str, start: int) -> Iterator[tuple[int | str, int, int]]:
    """Yield the members of the list or mapping at ``start``.

    A member is its index or key, the place where it starts, and the place of its value.
    """
    decoder = json.JSONDecoder()
    index, place = 0, _skip(text, start + 1)
    while text[place] not in "]}":
        key: int | str = index
        begin = place
        if text[start] == "{":
            key, place = decoder.raw_decode(text, place)
            place = _skip(text, _skip(text, place) + 1)
        _, end = decoder.raw_decode(text, place)
        yield key, begin, place
        index, place = index + 1, _skip(text, end)
        if text[place] == ",":
            place = _skip(text, place + 1)


def _skip(text: str, place: int) -> int:
    """Return the place of the first character from ``place`` on that is not white space."""
    found = _SPACE.match(text, place)
    return found.end() if found else place
