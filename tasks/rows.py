"""The records of JSON files, each with its place, so that a broken one can be named by file and line."""

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
    """One record: ``value`` as the file has it, ``index`` from 0, and its key where records have keys.

    ``file`` is a whole JSON document with the records under ``under``, or a file of one record a line.
    """

    file: Path
    index: int
    value: Any
    key: str = ""
    under: str | None = None
    lines: bool = False

    @property
    def place(self) -> str:
        """The file, the line and the record, for a message."""
        if self.lines:
            return f"{self.file}:{self.index + 1}"
        name = f"record {self.key}" if self.key else f"record {self.index + 1}"
        return f"{self.file}:{_line(self.file, self.under, self.index)} ({name})"

    def text(self, name: str) -> str:
        """Return a field that must be a text with something in it.

        Raises:
            DataError: it is missing, no text, or empty.
        """
        value = self._field(name)
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{name} is {_short(value)}, not a text")
        return value

    def label(self, name: str) -> str:
        """Return a field that must be an id: a text or a whole number.

        Raises:
            DataError: it is missing or something else.
        """
        value = self._field(name)
        if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
            raise DataError(f"{name} is {_short(value)}, not an id")
        return str(value)

    def whole(self, name: str) -> int:
        """Return a field that must be a whole number.

        Raises:
            DataError: it is missing or something else.
        """
        value = self._field(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise DataError(f"{name} is {_short(value)}, not a whole number")
        return value

    def texts(self, name: str, *, inner: str | None = None) -> tuple[str, ...]:
        """Return a field that must be a list of texts, or of records with the text under ``inner``.

        Raises:
            DataError: it is missing or something else.
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
        """Whether the record has a field of this name."""
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
    """Yield the records of a JSON document: of the list or mapping at its top, or of the one under a key.

    Raises:
        DataError: the file is no JSON, or has no such records.
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
    """Yield the records of a file with one JSON record a line; a line that is none carries its error."""
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
        DataError: it is no JSON; the message says in which line.
    """
    try:
        return json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno} is not JSON: {error.msg}. Get the file again.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error.reason}. Get the file again.") from None


def _line(path: Path, under: str | None, index: int) -> int:
    """Return the line, from 1, where a record of a JSON document begins."""
    return _starts(path, under, path.stat().st_mtime_ns)[index]


@lru_cache(maxsize=2)  # a whole folder of images may be missing
def _starts(path: Path, under: str | None, changed: int) -> array[int]:
    """Return the line where each record begins, of a file as it was when it ``changed`` last."""
    text = path.read_text(encoding="utf-8-sig")
    start = 0 if under is None else next(at for key, at in _members(text, 0) if key == under)
    lines, line, last = array("q"), 1, 0
    for _, at in _members(text, start):
        line, last = line + text.count("\n", last, at), at
        lines.append(line)
    return lines


def _members(text: str, start: int) -> Iterator[tuple[object, int]]:
    """Yield the keys of a mapping, or None for each item of a list, with where their values begin."""
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
