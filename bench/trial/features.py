"""Cache the frozen tower's features up to a number of bytes, and evict the least recently used first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence, Set

from bench.model.family import Features

_Key = tuple[object, int]  # the owner of the features, and the number of a group of its images
_Group = Sequence[Features]


class FeatureCache:
    """The features of a lane's splits, stored by groups of images: at most ``limit`` bytes, on the CPU.

    The memory is not pinned: a batch of 16 images of LLaVA-1.5 is 19 MB, which takes a few milliseconds to copy.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._held: OrderedDict[_Key, _Group] = OrderedDict()

    def take(self, owner: object, groups: Iterable[int], compute: Callable[[int], _Group]) -> dict[int, _Group]:
        """Return groups of an owner's features by number; groups that are not cached are computed and kept.

        A call evicts no group that it was asked for, so the cache may exceed ``limit`` until the call has all groups.
        """
        wanted = {(owner, group): group for group in groups}
        for key in wanted.keys() & self._held.keys():
            self._held.move_to_end(key)
        taken = {group: self._one(key, compute, wanted.keys()) for key, group in wanted.items()}
        self._shrink(frozenset())
        return taken

    def _one(self, key: _Key, compute: Callable[[int], _Group], spared: Set[_Key]) -> _Group:
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        features = self._held[key] = compute(key[1])
        self.bytes += _size(features)
        self._shrink(spared)
        return features

    def _shrink(self, spared: Set[_Key]) -> None:
        while self.bytes > self.limit and self._held:
            key = next(iter(self._held))
            if key in spared:  # the spared groups were used last, so all others are gone
                return
            self.bytes -= _size(self._held.pop(key))


def _size(group: _Group) -> int:
    """Return the number of bytes of a group's features."""
    return sum(tensor.nbytes for features in group for tensor in features.values())
