"""Keep what commands computed in the user's cache folder, so that another command need not compute it again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from bench.errors import WriteError
from bench.file_digests import cache_folder
from bench.store.drafts import drafted
from bench.store.shared_folder import SharedFolder
from bench.values.canonical import digest

FOLDER = "memos.1"  # in the cache folder; the number is the layout's version

Known = TypeVar("Known")

_LIMIT = 100 * 10**6  # bytes; the least recently used memo goes first


def read(key: object, parse: Callable[[Any], Known]) -> Known | None:
    """Return what ``parse`` makes of the JSON value that was kept for a key, or None if there is no whole one."""
    folder, name = _folder(), digest(key)
    try:
        found = parse(json.loads(folder.file(name).read_bytes()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # missing, or damaged
        return None
    folder.touch(name)
    return found


def keep(key: object, value: object) -> None:
    """Keep a JSON value for a key, which is one too, unless the cache folder refuses it: a memo only saves time."""
    folder, text = _folder(), json.dumps(value)
    if len(text) > _LIMIT:
        return
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.make_room(len(text))
        with drafted(folder.file(digest(key)), lasting=False) as draft:
            draft.write_text(text, encoding="utf-8")
    except (OSError, WriteError):
        return


def _folder() -> SharedFolder:
    return SharedFolder(cache_folder() / FOLDER, _LIMIT, ".json")
