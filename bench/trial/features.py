"""Cache the frozen tower's features up to a number of bytes, and evict the least recently used first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence, Set
from pathlib import Path

from bench.model.family import Features
from bench.trial.feature_files import FeatureFiles

_Key = tuple[object, int]  # the owner of the features, and the number of a group of its images
_Group = Sequence[Features]
_Compute = Callable[[Sequence[int]], Iterable[tuple[int, _Group]]]  # the numbers of groups -> their features, too


class FeatureCache:
    """The features of a lane's splits, stored by groups of images: at most ``limit`` bytes, on the CPU.

    Groups that are mapped from ``files`` count, too. The memory is not pinned: a batch of 16 images of LLaVA-1.5 is
    19 MB, which takes a few milliseconds to copy.
    """

    def __init__(self, limit: int, files: FeatureFiles | None = None) -> None:
        self.limit = limit
        self.files = files or FeatureFiles(Path(), 0)
        self.bytes = 0
        self._held: OrderedDict[_Key, _Group] = OrderedDict()

    def take(self, owner: object, groups: Iterable[int], compute: _Compute) -> dict[int, _Group]:
        """Return groups of an owner's features by number; groups that are not cached are computed and kept.

        A call evicts no group that it was asked for, so the cache may exceed ``limit`` until the call has all groups.
        """
        wanted: dict[_Key, int] = {(owner, group): group for group in groups}
        for key in wanted.keys() & self._held.keys():
            self._held.move_to_end(key)
        if missing := [group for key, group in wanted.items() if key not in self._held]:
            for group, features in compute(missing):
                self._held[owner, group] = features
                self.bytes += _size(features)
                self._shrink(wanted.keys())
        taken = {group: self._held[key] for key, group in wanted.items()}
        self._shrink(frozenset())
        return taken

    def _shrink(self, spared: Set[_Key]) -> None:
        while self.bytes > self.limit and self._held:
            key = next(iter(self._held))
            if key in spared:  # the spared groups were used last, so all others are gone
                return
            self.bytes -= _size(self._held.pop(key))


def _size(group: _Group) -> int:
    """Return the number of bytes of a group's features."""
    return sum(tensor.nbytes for features in group for tensor in features.values())
