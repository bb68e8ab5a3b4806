"""Measure adapted models at a few of many ranks, and read the others off a line if the few lie on one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import astuple

from bench.prepare.price.blueprint import Adapted

_FEW = 5  # ranks that are measured of more


def by_rank(ranks: Iterable[int], measure: Callable[[int], Adapted]) -> dict[int, Adapted]:
    """Return what ``measure`` says of each rank.

    Of more than five ranks, the two lowest, two in the middle and the highest are measured. LoRA's factors, and what
    the backward pass keeps of their outputs, grow by the same bytes with every rank: if the five lie on one line, so do
    the others. Every rank is measured if they do not, because a method may for instance round a share of its rank.
    """
    ordered = sorted(set(ranks))
    if len(ordered) <= _FEW:
        return {rank: measure(rank) for rank in ordered}
    middle = len(ordered) // 2
    found = {rank: measure(rank) for rank in (*ordered[:2], *ordered[middle : middle + 2], ordered[-1])}
    low, high = ordered[0], ordered[-1]
    start = astuple(found[low])
    steps = [divmod(last - first, high - low) for first, last in zip(start, astuple(found[high]), strict=True)]

    def on_line(rank: int) -> Adapted:
        return Adapted(*(first + step * (rank - low) for first, (step, _) in zip(start, steps, strict=True)))

    straight = not any(rest for _, rest in steps) and all(on_line(rank) == item for rank, item in found.items())
    return {rank: found.get(rank) or (on_line if straight else measure)(rank) for rank in ordered}
