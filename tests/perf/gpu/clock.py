"""The minutes of a measurement, and the stamps of its updates."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch

from bench.environment import peak_memory_bytes, reset_peak_memory

WARM = 4  # updates that are not counted: libraries start, kernels are chosen, the micro-batch is found


class TimeUp(Exception):  # noqa: N818  it ends an item and is not an error
    """Raised between two updates if the time of an item is up."""


@dataclass(slots=True)
class Clock:
    """The seconds that a measurement may take from ``began`` on.

    ``reserve`` is what the item that runs must leave for later ones.
    """

    seconds: float
    began: float = field(default_factory=time.monotonic)
    now: Callable[[], float] = time.monotonic
    reserve: float = 0.0

    @property
    def left(self) -> float:
        """The seconds that are left for the item that runs."""
        return self.seconds - self.reserve - self.passed

    @property
    def passed(self) -> float:
        """The seconds since the measurement began."""
        return self.now() - self.began


@dataclass(slots=True)
class Updates:
    """The progress of a training: when each update ended, and its loss.

    The peak of the memory is counted from the end of the first update on, when the micro-batch has been found.
    """

    device: torch.device
    clock: Clock
    losses: list[float] = field(default_factory=list)
    _ends: list[float] = field(default_factory=list)

    def __call__(self, index: int, total: int, loss: float) -> None:
        """Note the end of an update.

        Raises:
            TimeUp: the time is up, and updates are left.
        """
        finish(self.device)
        self._ends.append(time.perf_counter())
        self.losses.append(loss)
        if index == 1:
            reset_peak_memory(self.device)
        if self.clock.left < 0 and index < total:
            raise TimeUp

    @property
    def seconds(self) -> Sequence[float]:
        """The seconds of every update that counts; those of warm-up updates if there are no others."""
        each = [after - before for before, after in pairwise(self._ends)]
        return each[WARM - 1 :] or each

    def to_json(self) -> dict[str, object]:
        """Return what was measured."""
        if not (each := self.seconds):
            return {"updates": len(self._ends)}
        return {
            "updates": len(self._ends),
            "counted": len(each),
            "update_seconds": statistics.median(each),
            "each_seconds": [round(value, 6) for value in each],
            "losses": [self.losses[0], self.losses[-1]],
            **memory(self.device),
        }


def finish(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def memory(device: torch.device) -> dict[str, object]:
    """Return the peak since the last reset; on a CPU it is the process's resident memory."""
    found: dict[str, object] = {"peak_bytes": peak_memory_bytes(device)}
    if device.type == "cuda":
        found["reserved_bytes"] = torch.cuda.max_memory_reserved(device)
    return found
