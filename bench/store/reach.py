"""Refuse a URL that cannot be reached or written to, before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

from bench.errors import UsageError, one_line, without_password
from bench.store.drafts import put
from bench.store.places import remove


def check(path: Path, option: str) -> None:
    """Refuse a URL that cannot be reached.

    Raises:
        UsageError: the package of the URL is missing, or its server does not answer; the message names ``option``.
    """
    try:
        path.exists()
    except Exception as error:  # a driver of a file system may raise anything
        raise _unreachable(path, option, error) from error


def probe(path: Path, option: str) -> None:
    """Write an object at a URL and delete it again.

    Raises:
        UsageError: writing is not allowed.
    """
    mark = path / f".write-{os.getpid()}"
    try:
        put(mark, b"")
        remove(mark)
    except Exception as error:  # a driver of a file system may raise anything
        raise _unreachable(path, option, error) from error


def _unreachable(path: Path, option: str, error: Exception) -> UsageError:
    return UsageError(
        f"{option} {without_password(str(path))} cannot be used ({one_line(error)}). "
        "Check the address, its Python package and your credentials."
    )
