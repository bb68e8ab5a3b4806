"""Read the records of JSON files with their places, so that a message can name the file and the record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import DataError

from .record_lines import record_line

_IDS = ("question_id", "id")


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a file: its ``value``, its ``index`` from 0, and its ``key`` if records have keys.

    ``file`` is a JSON document with its records at the top or under the key ``under``, or has one record per line if
    ``lines`` is true.
    """

    file: Path
    index: int
    value: Any
    key: str = ""
    lines: bool = False
    under: str | None = None

    @property
    def place(self) -> str:
        """The file and the record's line, and its key or number in a JSON document, for a message."""
        if self.lines:
            return f"{self.file}:{self.index + 1}"
        line = record_line(self.file, self.under, self.key or self.index)
        names = [f", {name} {self.value[name]}" for name in _IDS if self.has(name) and not self.key]
        where = f"{self.file}:{line}" if line else f"{self.file}"
        return f"{where} (record {self.key or self.index + 1}{_short(''.join(names[:1]), quoted=False)})"

    def text(self, name: str) -> str:
        """Return a field that must be a text and not blank.

        Raises:
            DataError: the field is missing, is not a text, or is blank.
        """
        value = self._field(name)
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{name} is {_short(value)}, not a text")
        return _whole(name, value)

    def label(self, name: str) -> str:
        """Return a field that must be an id: a text or a whole number.

        Raises:
            DataError: the field is missing or has another type.
        """
        value = self._field(name)
        if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
            raise DataError(f"{name} is {_short(value)}, not an id")
        return _whole(name, str(value))

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
        return tuple(_whole(name, item) for item in found)

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


def json_rows(path: Path, under: str | None = None, *, keyed: bool = False) -> Iterator[Row]:
    """Yield the records in the list at the top of a JSON document, or under the key ``under``.

    If ``keyed``, the records are in a mapping and not in a list.

    Raises:
        DataError: the file is not JSON, or holds no list or no mapping there.
    """
    whole = read_json(path)
    records = whole if under is None else whole.get(under) if isinstance(whole, dict) else None
    if keyed and isinstance(records, dict):
        for index, (key, value) in enumerate(records.items()):
            yield Row(path, index, value, key, under=under)
    elif not keyed and isinstance(records, list):
        for index, value in enumerate(records):
            yield Row(path, index, value, under=under)
    else:
        what = f"under {under!r} " if under is not None else ""
        form = "a mapping of records by their ids" if keyed else "a list of records"
        raise DataError(f"{path} holds {_short(records)} {what}where {form} should be. Get the file again.")


def line_rows(path: Path) -> Iterator[Row]:
    """Yield the records of a file with one JSON record per line; a broken line carries its DataError.

    The file is UTF-8, and may begin with a byte-order mark (BOM).

    Raises:
        DataError: the file is one JSON document.
    """
    with path.open("rb") as file:
        for index, line in enumerate(file):
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode("utf-8" if index else "utf-8-sig"))
            except UnicodeDecodeError as error:
                value = DataError(f"it is not UTF-8 text ({error.reason})")
            except ValueError as error:
                value = DataError(f"it is not JSON ({error})")
            if not index and (line.strip() in (b"[", b"{") or (isinstance(value, list) and len(value) > 1)):
                raise DataError(f"{path} is one JSON document; write each of its records on a line of its own (JSONL).")
            yield Row(path, index, value, lines=True)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, which is UTF-8 and may begin with a byte-order mark.

    Raises:
        DataError: the file is not JSON, and the message names the line; or the file is not UTF-8 text.
    """
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))  # json alone would read UTF-16 too
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            raise DataError(
                f"{path}:{error.lineno}: more follows the first JSON value. Write one document, such as a list of all "
                "records, and not one record on each line."
            ) from None
        raise DataError(f"{path}:{error.lineno} is not JSON: {error.msg}. Get the file again.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error.reason}. Get the file again.") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or as many lists inside each other
        raise DataError(f"{path} cannot be read as JSON: {error}. Get the file again.") from None


def _whole(name: str, text: str) -> str:
    """Return a text, or raise DataError if it holds half of a character, which no file and no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{name} holds half of a character (a lone surrogate): {_short(text)}") from None
    return text


def _short(value: object, *, quoted: bool = True) -> str:
    text = repr(value) if quoted else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
