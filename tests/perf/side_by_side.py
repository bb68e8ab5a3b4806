"""Time several ways of doing the same in turns, in seconds of this process's own CPU time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def seconds(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each way in each round, after one call of each that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, call in ways.items():
            began = time.process_time()
            call()
            if turn:
                found[name].append(time.process_time() - began)
    return found


def ratio(found: Mapping[str, list[float]], name: str, other: str) -> float:
    """Return the median over rounds of the seconds of ``name`` over those of ``other`` in the same round."""
    return statistics.median(one / two for one, two in zip(found[name], found[other], strict=True))
