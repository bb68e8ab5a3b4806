"""Find equal and nearly equal images of two sets, in near-linear time, by parts of their hashes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np

from bench.prepare.data.likeness import Look

DISTANCE = 4  # the bits of 64 in which two dHashes may differ
COLOUR = 10.0  # mean difference of two miniatures, of 256 levels; flat red and flat blue have the same dHash
_PIECES = DISTANCE + 1  # two hashes that differ in at most DISTANCE bits have at least one equal piece
_BIT = 1000.0  # the weight of one bit of the hash, larger than any difference of miniatures
_HASHES_AT_ONCE = 1 << 22  # pairs that are compared in one step
_PICTURES_AT_ONCE = 1 << 17


@dataclass(frozen=True, slots=True)
class Match:
    """Two alike images: their places in the first and second set, and the bits in which they differ."""

    first: int
    second: int
    distance: int
    identical: bool


@dataclass(frozen=True, slots=True)
class _HashedPictures:
    """Images grouped by hash: distinct hashes [n], places in order of hash, group starts [n + 1]."""

    hashes: np.ndarray
    places: np.ndarray
    starts: np.ndarray
    tiny: np.ndarray

    @classmethod
    def of(cls, looks: Sequence[Look]) -> Self:
        hashes = np.array([look.dhash for look in looks], dtype=np.uint64)
        distinct, group = np.unique(hashes, return_inverse=True)
        starts = np.searchsorted(np.sort(group), np.arange(len(distinct) + 1))
        tiny = np.stack([np.frombuffer(look.tiny, dtype=np.uint8) for look in looks]).astype(np.int16)
        return cls(distinct, np.argsort(group, kind="stable"), starts, tiny)

    @property
    def counts(self) -> np.ndarray:
        """The number of images with each hash, [n]."""
        return np.diff(self.starts)


def pairs(first: Sequence[Look], second: Sequence[Look]) -> list[Match]:
    """Return the nearest image in the second set for each image of the first set that has one."""
    if not first or not second:
        return []
    ours, theirs = _HashedPictures.of(first), _HashedPictures.of(second)
    best, match = np.full(len(first), np.inf), np.zeros(len(first), dtype=np.int64)
    for a, b, bits in _near(ours.hashes, theirs.hashes):
        for i, j, far in _alike(ours, theirs, a, b, bits):
            better = far < best[i]
            best[i[better]], match[i[better]] = far[better], j[better]
    return [
        Match(i, j, int(best[i] // _BIT), first[i].digest == second[j].digest)
        for i, j in enumerate(match.tolist())
        if np.isfinite(best[i])
    ]


def _near(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the places in [n] and [m] of all hashes within DISTANCE bits, and how many bits differ."""
    before: list[tuple[np.uint64, np.uint64]] = []
    for shift, mask in _pieces():
        order = np.argsort(right >> shift & mask, kind="stable")
        keys, wanted = (right >> shift & mask)[order], left >> shift & mask
        start, stop = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
        for rows in _portions(stop - start, _HASHES_AT_ONCE):
            row, place = _expanded(start[rows], (stop - start)[rows])
            a, b = np.arange(len(left))[rows][row], order[place]
            apart = left[a] ^ right[b]
            bits = np.bitwise_count(apart)
            close = bits <= DISTANCE
            for earlier, part in before:  # a pair with an equal earlier piece was yielded then
                close &= (apart >> earlier & part) != 0
            yield a[close], b[close], bits[close]
        before.append((shift, mask))


def _pieces() -> Iterator[tuple[np.uint64, np.uint64]]:
    edges = [64 * piece // _PIECES for piece in range(_PIECES + 1)]
    for low, high in pairwise(edges):
        yield np.uint64(low), np.uint64((1 << (high - low)) - 1)


def _alike(
    ours: _HashedPictures, theirs: _HashedPictures, a: np.ndarray, b: np.ndarray, bits: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield images of ours that look like one of theirs, the nearest such image, and the distance."""
    pair, place = _expanded(ours.starts[a], ours.counts[a])
    for rows in _portions(theirs.counts[b[pair]], _PICTURES_AT_ONCE):
        row, other = _expanded(theirs.starts[b[pair[rows]]], theirs.counts[b[pair[rows]]])
        i, j = ours.places[place[rows][row]], theirs.places[other]
        apart = np.abs(ours.tiny[i] - theirs.tiny[j]).mean(axis=1)
        far = bits[pair[rows]][row] * _BIT + apart
        order = np.lexsort((j, far, i))
        order = order[apart[order] <= COLOUR]
        _, nearest = np.unique(i[order], return_index=True)
        chosen = order[nearest]
        yield i[chosen], j[chosen], far[chosen]


def _expanded(starts: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expand ranges: return the row and the place of each of ``counts`` places from ``starts`` on."""
    row = np.repeat(np.arange(len(counts)), counts)
    return row, np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)


def _portions(counts: np.ndarray, most: int) -> Iterator[slice]:
    """Yield slices of rows with at most ``most`` pairs each; a slice has at least one row."""
    start, ends = 0, np.cumsum(counts)
    while start < len(counts):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + most, "right")))
        yield slice(start, stop)
        start = stop
