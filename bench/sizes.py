"""Bytes as text: memory in GiB and MiB, disks and transfers in decimal units; parameters and times as text."""

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


def readable_count(count: int) -> str:
    """Return a number of parameters as text, in thousands or millions.

    >>> readable_count(411_648), readable_count(20_979_712)
    ('412k', '21.0M')
    """
    return f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count / 1e3:.0f}k"


def readable_time(seconds: float) -> str:
    """Return a time as text in seconds, minutes or hours.

    >>> readable_time(9.6), readable_time(600), readable_time(9000)
    ('10 s', '10 min', '2.5 hours')
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:,.1f} hours"
