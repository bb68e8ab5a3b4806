"""Read a small JSON file that a command left; say how to get rid of a damaged one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import BenchError, StoreError

T = TypeVar("T")


def read_note(
    path: Path, parse: Callable[[Any], T], damaged: str, error: Callable[[str], BenchError] = StoreError
) -> T | None:
    """Return what ``parse`` makes of a file's JSON, or None if there is no file.

    ``damaged`` is the whole message about a file that cannot be read or parsed; ``{path}`` and ``{error}`` in it are
    filled in.

    Raises:
        StoreError: the file is damaged; ``error`` may name another kind.
    """
    try:
        return parse(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as reason:
        raise error(damaged.format(path=path, error=reason)) from reason
