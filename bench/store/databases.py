"""The address of an SQLite file for SQLAlchemy, which MLflow and Optuna use, and the file of such an address."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote

_SPECIAL = frozenset("%?#{}")  # SQLAlchemy decodes % and ends the path at ?, Optuna replaces braces
_ADDRESS = re.compile(r"sqlite(?:\+\w+)?:///(?P<path>[^?]*)(?P<options>\?.*)?", re.DOTALL)


def database_url(file: Path) -> str:
    """Return the address of a database file, whatever characters its path has."""
    path = str(file)
    if _SPECIAL.isdisjoint(path):
        return f"sqlite:///{path}"
    # The name of the driver keeps MLflow from creating the folder that the encoded path would name.
    return f"sqlite+pysqlite:///{quote(path, safe=' +/')}"


def database_file(url: str) -> Path | None:
    """Return the file of an SQLite address; None if the address names another database, or one in memory."""
    found = _ADDRESS.fullmatch(url)
    if found is None or "uri=" in (found["options"] or "") or found["path"] in {"", ":memory:"}:
        return None
    return Path(unquote(found["path"]))
