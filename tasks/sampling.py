"""Seeded draws that depend on a record's id alone: not on files' order, on the platform, or on a library's version."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def shuffled(items: Sequence[Item], key: Callable[[Item], str], *seed: object) -> list[Item]:
    """Return the items by the SHA-256 of the seed and their keys: a draw of n is the first n."""
    start = "/".join(str(part) for part in seed)
    return sorted(items, key=lambda item: hashlib.sha256(f"{start}/{key(item)}".encode()).digest())


def drawn(items: Sequence[Item], *seed: object) -> Item:
    """Return the one of the items that the seed's SHA-256 points to."""
    start = "/".join(str(part) for part in seed)
    return items[int.from_bytes(hashlib.sha256(start.encode()).digest()[:8]) % len(items)]


def held_out(groups: Sequence[str], count: int, *seed: object) -> frozenset[str]:
    """Return drawn groups, each of one image's records, that hold ``count`` records together.

    ``groups`` names each record's group. A group that would be too many is passed over; there may be too few so.
    """
    sizes: dict[str, int] = defaultdict(int)
    for group in groups:
        sizes[group] += 1
    chosen: list[str] = []
    held = 0
    for group in shuffled(sorted(sizes), str, *seed):
        if held + sizes[group] <= count:
            chosen.append(group)
            held += sizes[group]
    return frozenset(chosen)
