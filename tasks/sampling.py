"""Seeded draws that depend only on the ids of the records.

The order of the files, the platform and the versions of libraries do not change a draw.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def shuffled(items: Sequence[Item], key: Callable[[Item], str], *seed: object) -> list[Item]:
    """Sort the items by the SHA-256 of the seed and their keys; the first n items are a draw of n."""
    start = "/".join(str(part) for part in seed)
    return sorted(items, key=lambda item: hashlib.sha256(f"{start}/{key(item)}".encode()).digest())


def drawn(items: Sequence[Item], *seed: object) -> Item:
    """Return the item that the SHA-256 of the seed selects."""
    start = "/".join(str(part) for part in seed)
    return items[int.from_bytes(hashlib.sha256(start.encode()).digest()[:8]) % len(items)]


def held_out(groups: Sequence[str], count: int, *seed: object) -> frozenset[str]:
    """Draw groups that together hold at most ``count`` records; one group has the records of one image.

    ``groups`` names the group of each record. The draw skips a group that would exceed ``count``, so the drawn groups
    may hold fewer records than ``count``.
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
