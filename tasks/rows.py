"""Read the records of JSON files with their places, so that a message can name file and line."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench import DataError

_BLANK = re.compile(r"[\s:,]*")


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a file: its ``value``, its ``index`` from 0, and its ``key`` if records have keys.

    ``file`` is a JSON document with the records under the key ``under`` (None if they are the whole document). If
    ``lines`` is true, ``file`` has one record per line instead.
    """

    file: Path
    index: int
    value: Any
    key: str = ""
    under: str | None = None
    lines: bool = False

    @property
    def place(self) -> str:
        """The file, the line and the name of the record, for a message."""
        if self.lines:
            return f"{self.file}:{self.index + 1}"
        name = f"record {self.key}" if self.key else f"record {self.index + 1}"
        return f"{self.file}:{_line(self.file, self.under, self.index)} ({name})"

    def text(self, name: str) -> str:
        """Return a field that must be a text and not blank.

        Raises:
            DataError: the field is missing, is not a text, or is blank.
        """
        value = self._field(name)
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{name} is {_short(value)}, not a text")
        return value

    def label(self, name: str) -> str:
        """Return a field that must be an id: a text or a whole number.

        Raises:
            DataError: the field is missing or has another type.
        """
        value = self._field(name)
        if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
            raise DataError(f"{name} is {_short(value)}, not an id")
        return str(value)

    def whole(self, name: str) -> int:
        """Return a field that must be a whole number.

        Raises:
            DataError: the field is missing or has another type.
        """
        value = self._field(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise DataError(f"{name} is {_short(value)}, not a whole number")
        return value

    def texts(self, name: str, *, inner: str | None = None) -> tuple[str, ...]:
        """Return a field that must be a list of texts, or of records with a text under ``inner``.

        Raises:
            DataError: the field is missing or has another type.
        """
        value = self._field(name)
        if not isinstance(value, list | tuple):
            raise DataError(f"{name} is {_short(value)}, not a list")
        found: list[Any] = [item.get(inner) if inner and isinstance(item, dict) else item for item in value]
        for item in found:
            if not isinstance(item, str):
                raise DataError(f"{name} holds {_short(item)}, not a text")
        return tuple(found)

    def has(self, name: str) -> bool:
        """Return whether the record has a field of this name."""
        return isinstance(self.value, dict) and name in self.value

    def _field(self, name: str) -> Any:
        if isinstance(self.value, DataError):
            raise self.value
        if not isinstance(self.value, dict):
            raise DataError(f"it is {_short(self.value)}, not a record")
        if name not in self.value:
            raise DataError(f"{name} is missing")
        return self.value[name]


def json_rows(path: Path, under: str | None = None) -> Iterator[Row]:
    """Yield the records in the list or mapping at the top of a JSON document, or under the key ``under``.

    Raises:
        DataError: the file is not JSON, or holds neither a list nor a mapping there.
    """
    whole = read_json(path)
    records = whole if under is None else whole.get(under) if isinstance(whole, dict) else None
    if isinstance(records, Mapping):
        for index, (key, value) in enumerate(records.items()):
            yield Row(path, index, value, str(key), under)
    elif isinstance(records, list):
        for index, value in enumerate(records):
            yield Row(path, index, value, "", under)
    else:
        what = f"under {under!r} " if under is not None else ""
        raise DataError(f"{path} holds {_short(records)} {what}where its records should be. Get the file again.")


def line_rows(path: Path) -> Iterator[Row]:
    """Yield the records of a file with one JSON record per line; a broken line carries its DataError."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for index, line in enumerate(file):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                value = DataError(f"it is not JSON ({error})")
            yield Row(path, index, value, lines=True)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        DataError: the file is not JSON, and the message names the line; or the file is not UTF-8 text.
    """
    try:
        return json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno} is not JSON: {error.msg}. Get the file again.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error.reason}. Get the file again.") from None


def _line(path: Path, under: str | None, index: int) -> int:
    """Return the line, counted from 1, in which a record of a JSON document begins."""
    return _starts(path, under, path.stat().st_mtime_ns)[index]


@lru_cache(maxsize=2)  # if a whole folder of images is missing, every record asks for its line
def _starts(path: Path, under: str | None, changed: int) -> array[int]:
    """Return the line in which each record begins; ``changed``, the file's time, is only a cache key."""
    text = path.read_text(encoding="utf-8-sig")
    start = 0 if under is None else next(at for key, at in _members(text, 0) if key == under)
    lines, line, last = array("q"), 1, 0
    for _, at in _members(text, start):
        line, last = line + text.count("\n", last, at), at
        lines.append(line)
    return lines


def _members(text: str, start: int) -> Iterator[tuple[object, int]]:
    """Yield each key of a mapping, or None for each item of a list, with the offset of its value."""
    decoder = json.JSONDecoder()
    at = _skip(text, start)
    keyed, at = text[at] == "{", at + 1
    while text[at := _skip(text, at)] not in "]}":
        key = None
        if keyed:
            key, at = decoder.raw_decode(text, at)
            at = _skip(text, at)
        yield key, at
        _, at = decoder.raw_decode(text, at)


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
