"""Time several ways to do the same side by side: in turns, so that a busy machine slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from bench.text import text_table


def dtypes() -> tuple[torch.dtype, ...]:
    """Return float32, and bfloat16 if this CPU multiplies it; where it does not, torch takes 300 times as long."""
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return (torch.float32, torch.bfloat16)
    print("No time in bfloat16 is measured, because this CPU has no instructions for it.")
    return (torch.float32,)


def seconds(ways: Mapping[str, Callable[[], object]], rounds: int = 5) -> dict[str, float]:
    """Return the median CPU seconds of each way on one thread."""
    return {name: statistics.median(taken) for name, taken in each_round(ways, rounds).items()}


def each_round(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each way in each round on one thread, after one round that is not counted."""
    torch.set_num_threads(1)
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


def show(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table under its title."""
    print(title)
    for line in text_table([head, *rows], left=[0]):
        print(line)
