"""Read and write small JSON files; a file that an earlier command damaged gives an error that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import BenchError, StoreError, unreadable
from bench.store.drafts import replace_file
from bench.store.places import make

T = TypeVar("T")


def read_note(
    path: Path, parse: Callable[[Any], T], damaged: str, error: Callable[[str], BenchError] = StoreError
) -> T | None:
    """Return the JSON of a file as ``parse`` converts it, or None if the file does not exist.

    ``damaged`` is the message if the file cannot be parsed. ``{path}`` and ``{error}`` in the message are replaced.

    Raises:
        StoreError: the file is damaged or cannot be read; ``error`` may name another class.
    """
    try:
        return parse(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError as reason:
        raise error(unreadable(path, reason)) from reason
    except (ValueError, KeyError, TypeError, AttributeError) as reason:
        raise error(damaged.format(path=path, error=reason)) from reason


def write_note(path: Path, data: object, *, indent: int | None = 1, sort_keys: bool = False) -> None:
    """Write data to a JSON file atomically, and create its folder; ``indent`` and ``sort_keys`` are those of json."""
    make(path.parent)
    replace_file(path, json.dumps(data, indent=indent, sort_keys=sort_keys) + "\n")


def json_text(data: object) -> str:
    """Return data as JSON for other programs: indented, in UTF-8, without NaN."""
    return json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False)
