"""A temporary folder for a private Ray, whose sockets have paths of a limited length."""

from __future__ import annotations

import re
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from bench.errors import UsageError

_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107  # of the path of a socket
_RAY_BYTES = len("/bench-12345678/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
_PLAIN = re.compile(r"[\w/.+-]+", re.ASCII)  # Ray refuses other letters, and joins paths to a command with spaces
_OTHERS = ("/tmp", "/var/tmp", "/dev/shm")


def make_scratch() -> Path:
    """Create a folder that only this user can read, below TMPDIR if Ray can use its path, and return it.

    Raises:
        UsageError: no folder with such a path can be written.
    """
    chosen = tempfile.gettempdir()
    longest = _SOCKET_BYTES - _RAY_BYTES
    for place in (chosen, *_OTHERS):
        if _PLAIN.fullmatch(place) and len(place) <= longest:
            with suppress(OSError):
                return Path(tempfile.mkdtemp(prefix="bench-", dir=place))
    raise UsageError(
        f"Ray cannot use the temporary folder {chosen}: its path must have at most {longest} letters, digits and "
        f"/._+-, and it must be writable. None of {', '.join(_OTHERS)} is writable. Set TMPDIR to another folder, "
        "or use --lanes 0, which needs no Ray."
    )
