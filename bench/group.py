"""The workers that share a trial: one alone, or several that add up what each has computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class Group:
    """One worker alone; also what several together have to offer."""

    rank: int = 0
    size: int = 1

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its sum over all workers, in place."""

    def gather(self, value: Any) -> list[Any]:
        """Return every worker's value, in the order of their ranks, on every worker."""
        return [value]
