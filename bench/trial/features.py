"""The frozen tower's features, kept up to a number of bytes: the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence, Set

from bench.model.family import Features

_Key = tuple[object, int]  # whose features, and which group of its images
_Group = Sequence[Features]


class FeatureCache:
    """Groups of images' features of all the splits of a lane, at most ``limit`` bytes of them, on the CPU.

    Not in pinned memory: a batch of 16 pictures of LLaVA-1.5 is 19 MB, which is some milliseconds on its way.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self.evictions = 0
        self._held: OrderedDict[_Key, _Group] = OrderedDict()

    def take(self, owner: object, groups: Iterable[int], compute: Callable[[int], _Group]) -> dict[int, _Group]:
        """Return groups of an owner's features by their number; what is not held is computed, and then held.

        A call never evicts what it has been asked for until it has all of it: more than the limit is held no longer
        than that.
        """
        wanted = {(owner, group): group for group in groups}
        for key in wanted.keys() & self._held.keys():
            self._held.move_to_end(key)
        taken = {group: self._one(key, compute, wanted.keys()) for key, group in wanted.items()}
        self._shrink(frozenset())
        return taken

    def _one(self, key: _Key, compute: Callable[[int], _Group], spared: Set[_Key]) -> _Group:
        if key in self._held:
            self.hits += 1
            self._held.move_to_end(key)
            return self._held[key]
        self.misses += 1
        features = self._held[key] = compute(key[1])
        self.bytes += _size(features)
        self._shrink(spared)
        return features

    def _shrink(self, spared: Set[_Key]) -> None:
        while self.bytes > self.limit and self._held:
            key = next(iter(self._held))
            if key in spared:  # those that are spared are the last ones
                return
            self.bytes -= _size(self._held.pop(key))
            self.evictions += 1


def _size(group: _Group) -> int:
    """Return how many bytes the features of a group's images have."""
    return sum(tensor.nbytes for features in group for tensor in features.values())
