"""Digest the code that a command runs: the engine, its own plugins, Python, and what else is installed."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from bench.file_digests import of_files
from bench.plugins.source import PLUGIN_FOLDERS
from bench.values.canonical import digest

_SETTLED_SECONDS = 60.0  # a process may have imported what a file had before it was changed
_METADATA = ".dist-info"


@cache
def of_installed() -> str | None:
    """Return the digest of all code that a command may run, except plugin files; None if some of it was just changed.

    It covers every file of this package (engine, plugins, and the base models that come with it), the version of
    Python, and the name, version and time of installation of every other package. A package that is edited in place
    counts as unchanged.
    """
    try:
        files = sorted(_own_files())
        newest = max(max(facts.st_mtime, facts.st_ctime) for facts in (path.stat() for path in files))
        if newest > time.time() - _SETTLED_SECONDS:
            return None
        own = {str(path): found.hex() for path, found in of_files(files).items()}
        return digest([sys.version, platform.machine(), own, sorted(_packages())])
    except OSError:
        return None


def _own_files() -> Iterator[Path]:
    """Yield every file of the engine and of its own plugins, except what Python has compiled."""
    for name in ("bench", *(f"bench.{folder}" for folder in PLUGIN_FOLDERS)):
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise FileNotFoundError(name)
        for path in Path(spec.origin).parent.rglob("*"):
            if path.suffix != ".pyc" and path.is_file():
                yield path


def _packages() -> Iterator[tuple[str, int]]:
    """Yield the folder of every installed package's description, which names the version, and when it was written."""
    for folder in dict.fromkeys(sys.path):
        if Path(folder).is_dir():
            for path in Path(folder).glob(f"*{_METADATA}"):
                yield path.name, path.stat().st_mtime_ns
