"""Pictures of one set that another has too, identical or nearly, in near-linear time by pieces of their hashes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bench.material.looks import Look

DISTANCE = 4  # bits of 64 that two dHashes may differ in
COLOUR = 10.0  # levels of 256 that two miniatures may differ by on the mean: a flat red and a flat blue hash alike
_PIECES = DISTANCE + 1  # of two hashes that differ in DISTANCE bits, one piece of so many is equal
_AT_ONCE = 1 << 22  # pairs that are compared together


@dataclass(frozen=True, slots=True)
class Pair:
    """Places of two pictures that are the same or nearly: of the first set and of the second, with the bits between."""

    first: int
    second: int
    distance: int
    identical: bool


def pairs(first: Sequence[Look], second: Sequence[Look]) -> list[Pair]:
    """Return, for each picture of the first set that the second has too, its nearest one there."""
    if not first or not second:
        return []
    ours, theirs = _hashes(first), _hashes(second)
    left, left_of = np.unique(ours, return_inverse=True)
    right, right_of = np.unique(theirs, return_inverse=True)
    mine, other = _groups(left_of, len(left)), _groups(right_of, len(right))
    best: dict[int, tuple[int, float, int]] = {}
    for a, b, distance in _near(left, right):
        for place, (match, apart) in _alike(first, second, mine[a], other[b]).items():
            found = (distance, apart, match)
            best[place] = min(best.get(place, found), found)
    return [
        Pair(place, match, distance, first[place].digest == second[match].digest)
        for place, (distance, _, match) in sorted(best.items())
    ]


def _near(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yield the places of distinct hashes, [n] and [m], within DISTANCE bits of each other, and the bits, once each."""
    known: set[tuple[int, int]] = set()
    for shift, mask in _pieces():
        order = np.argsort(right >> shift & mask, kind="stable")
        keys = (right >> shift & mask)[order]
        wanted = left >> shift & mask
        start, stop = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
        for rows in _portions(stop - start):
            counts = (stop - start)[rows]
            a = np.repeat(np.arange(len(left))[rows], counts)
            b = order[np.repeat(start[rows] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())]
            bits = np.bitwise_count(left[a] ^ right[b])
            close = bits <= DISTANCE
            for found in zip(a[close].tolist(), b[close].tolist(), bits[close].tolist(), strict=True):
                if found[:2] not in known:
                    known.add(found[:2])
                    yield found


def _pieces() -> Iterator[tuple[np.uint64, np.uint64]]:
    edges = [64 * piece // _PIECES for piece in range(_PIECES + 1)]
    for low, high in pairwise(edges):
        yield np.uint64(low), np.uint64((1 << (high - low)) - 1)


def _portions(counts: np.ndarray) -> Iterator[slice]:
    """Yield runs of rows whose pairs are not too many to hold at once."""
    start, held = 0, 0
    for row, count in enumerate(counts.tolist()):
        if held and held + count > _AT_ONCE:
            yield slice(start, row)
            start, held = row, 0
        held += count
    yield slice(start, len(counts))


def _alike(
    first: Sequence[Look], second: Sequence[Look], mine: Sequence[int], other: Sequence[int]
) -> dict[int, tuple[int, float]]:
    """Return, for pictures whose miniatures are alike too, the nearest other place and the mean difference."""
    theirs = _tiny(second, other)
    found = {}
    for place, own in zip(mine, _tiny(first, mine), strict=True):
        apart = np.abs(theirs - own).mean(axis=1)
        nearest = int(apart.argmin())
        if apart[nearest] <= COLOUR:
            found[place] = (other[nearest], float(apart[nearest]))
    return found


def _hashes(looks: Sequence[Look]) -> np.ndarray:
    return np.array([look.dhash for look in looks], dtype=np.uint64)


def _tiny(looks: Sequence[Look], places: Sequence[int]) -> np.ndarray:
    return np.stack([np.frombuffer(looks[place].tiny, dtype=np.uint8) for place in places]).astype(np.int16)


def _groups(group_of: np.ndarray, count: int) -> list[list[int]]:
    groups: list[list[int]] = [[] for _ in range(count)]
    for place, group in enumerate(group_of.tolist()):
        groups[group].append(place)
    return groups
