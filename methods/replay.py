"""Replay: LoRA that also sees some training examples of the tasks that it may forget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from typing_extensions import override

from bench import hyper

from .lora import LoRA

if TYPE_CHECKING:
    from torch import Generator


def equal_parts(total: int, count: int) -> list[int]:
    """Divide a total into ``count`` parts whose sizes differ by at most one; the first are the larger.

    >>> equal_parts(7, 3)
    [3, 2, 2]
    """
    return [total // count + (part < total % count) for part in range(count)]


def drawn(numbers: Sequence[int], count: int, generator: Generator) -> Iterator[int]:
    """Yield ``count`` of the numbers at random; each number comes once before any comes again."""
    for at in range(count):
        if at % len(numbers) == 0:
            order = torch.randperm(len(numbers), generator=generator).tolist()
        yield numbers[order[at % len(numbers)]]


@dataclass(kw_only=True)
class Replay(LoRA):
    """LoRA of which ``share`` of the examples that a training sees are training examples of the sources.

    Rehearsal (Robins 1995) trains a network on old items next to the new ones. The number and size of the updates
    are unchanged: each drawn example replaces one of the target's, in a random place. The share of 5 % and the equal
    parts of the sources, which differ by at most one example, are choices of ours. All draws are made once, from the
    seed, before the first update. No example is drawn twice before all of its source have been drawn once.

    It is the obvious thing to do if the old data is available, so methods that see none should be compared with it. It
    is not ranked, because it trains on the tasks with which forgetting is measured. A search does not vary
    ``share``, because more old data does not make a better method.
    """

    name: ClassVar[str] = "replay"
    display: ClassVar[str] = "LoRA with replay"
    paper: ClassVar[str] = (
        "Robins, Catastrophic forgetting, rehearsal and pseudorehearsal, Connection Science 7, 1995, "
        "doi:10.1080/09540099550039318"
    )
    off: ClassVar[dict[str, float]] = {"share": 0.0}
    ranked: ClassVar[bool] = False

    share: float = hyper(0.05, minimum=0.0, maximum=1.0, search=False)

    @override
    def mix(self, order: Sequence[int], sources: Mapping[str, range], generator: Generator) -> Sequence[int]:
        mixed, count = list(order), round(self.share * len(order))
        places = iter(torch.randperm(len(order), generator=generator)[:count].tolist())
        for numbers, part in zip(sources.values(), equal_parts(count, len(sources)), strict=True):
            for number in drawn(numbers, part, generator):
                mixed[next(places)] = number
        return mixed
