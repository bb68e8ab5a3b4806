"""Count the tensors that are alive, and find a large one that a layer keeps."""

from __future__ import annotations

import gc

from torch import Tensor


def live_tensors(entries: int) -> list[Tensor]:
    """Return all tensors with at least so many entries that the garbage collector knows.

    In a process of pytest it knows millions of objects and takes seconds; a test that makes all its tensors itself can
    call ``gc.freeze()`` first.
    """
    gc.collect()
    return [item for item in gc.get_objects() if issubclass(type(item), Tensor) and item.numel() >= entries]
