"""Bytes as text: memory in GiB and MiB, disks and transfers in decimal units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Unit = Literal["MB", "GB", "MiB", "GiB"]

MB, GB, MIB, GIB = 10**6, 10**9, 2**20, 2**30
_UNITS: Mapping[Unit, int] = {"MB": MB, "GB": GB, "MiB": MIB, "GiB": GIB}


def in_unit(count: float, unit: Unit, digits: int = 1) -> str:
    """Return a number of bytes as text in the given unit.

    >>> in_unit(3 << 29, "GiB"), in_unit(1_234_567, "MB", 2)
    ('1.5 GiB', '1.23 MB')
    """
    return f"{count / _UNITS[unit]:.{digits}f} {unit}"


def readable_size(count: float) -> str:
    """Return a number of bytes as text in the largest decimal unit that fits.

    >>> readable_size(999), readable_size(6_600_000_000)
    ('999 B', '6.6 GB')
    """
    if abs(count) < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if abs(count) < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"
