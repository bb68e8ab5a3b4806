"""The workers that share a trial: one alone, or several that sum what each has computed.

Several workers make the same collective calls in the same order. Before each call every worker announces the call and
whether it has failed, so that no worker waits for one that gave up, and all of them know the reason.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from typing_extensions import override

from bench.errors import Gone, TrialError
from bench.plugins.faults import explained
from bench.store.disk_errors import refusal

if TYPE_CHECKING:
    from torch import Tensor

_T = TypeVar("_T")

_GATHER, _FIRST, _SETTLE = -1, -2, -3  # codes of announced calls; a sum announces how many numbers it has, from 0


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason why a worker gave up a trial, in one line, and the traceback.

    The trial is not to blame if the failure ``stops`` the command, because a disk takes no more files.
    """

    reason: str
    traceback: str
    stops: bool = False

    @classmethod
    def of(cls, error: Exception, folder: Path | None = None) -> Self:
        """Return the failure of an exception; its reason names the line and the hook of a plugin that raised it.

        ``folder`` is where the command writes, for the message if a disk takes no more files.
        """
        stop = refusal(error, folder)
        reason = explained(error) if stop is None else str(stop)
        return cls(reason, "".join(traceback.format_exception(error)), stops=stop is not None)


class Group:
    """A single worker; ``Workers`` offers the same methods for several."""

    rank: int = 0
    size: int = 1

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its sum over all workers, in place."""

    def gather(self, value: Any) -> list[Any]:
        """Return every worker's value, in the order of their ranks, on every worker."""
        return [value]

    def first(self, call: Callable[[], _T]) -> _T:
        """Run ``call`` on the first worker only, and return its result on every worker; the others wait."""
        return call()

    def settle(self, failure: Failure | None) -> Failure | None:
        """End a trial on all workers, and return the first failure by rank, or None, on every worker."""
        return failure


ALONE = Group()


class Workers(Group):
    """Several processes, joined by torch.distributed; all call every method in the same order.

    After a worker has failed, every call raises that worker's reason on every worker, until ``settle``. A worker whose
    peer is gone raises Gone, because the trial is not at fault.
    """

    def __init__(self) -> None:
        from torch import distributed

        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()
        self._failure: Failure | None = None

    @override
    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its sum over all workers, in place; half precision is summed in float32.

        Raises:
            TrialError: a worker has failed, or the workers' tensors differ in size.
        """
        import torch
        from torch import distributed

        parts = _alike(tensors)
        flats = [_flat(part) for part in parts]
        self._agree(sum(flat.numel() for flat in flats))
        for flat, part in zip(flats, parts, strict=True):
            with _connected():
                distributed.all_reduce(flat)
            sizes = [tensor.numel() for tensor in part]
            for tensor, values in zip(part, torch.split(flat, sizes), strict=True):
                tensor.detach().copy_(values.view_as(tensor))

    @override
    def gather(self, value: Any) -> list[Any]:
        content = pickle.dumps(value)  # first: a value that cannot be pickled must fail this worker, not hang all
        self._agree(_GATHER)
        return [pickle.loads(item) for item in self._exchanged(content)]

    @override
    def first(self, call: Callable[[], _T]) -> _T:
        from torch import distributed

        box = [pickle.dumps(call()) if self.rank == 0 else b""]
        self._agree(_FIRST)
        with _connected():
            distributed.broadcast_object_list(box, src=0)
        value: _T = pickle.loads(box[0])
        return value

    @override
    def settle(self, failure: Failure | None) -> Failure | None:
        with suppress(TrialError):
            self._agree(_SETTLE, failure)
        found, self._failure = self._failure, None
        return found

    def _agree(self, act: int, failure: Failure | None = None) -> None:
        """Announce the next call; raise on every worker if one has failed or announces another call."""
        import torch
        from torch import distributed

        if self._failure is not None:
            raise TrialError(self._failure.reason)
        control = torch.tensor([int(failure is not None), act, -act])
        with _connected():
            distributed.all_reduce(control, op=distributed.ReduceOp.MAX)
        failed, most, least = control.tolist()
        if failed:
            found = (pickle.loads(item) for item in self._exchanged(pickle.dumps(failure)))
            self._failure = next(item for item in found if item is not None)
        elif most != -least:
            reason = "The workers of the trial are out of step. A hook must make the same calls on every worker."
            self._failure = Failure(reason, f"{reason}\n")
        if self._failure is not None:
            raise TrialError(self._failure.reason)

    def _exchanged(self, content: bytes) -> list[bytes]:
        from torch import distributed

        contents = [b""] * self.size
        with _connected():
            distributed.all_gather_object(contents, content)
        return contents


def joined() -> Group:
    """Return the group that this process belongs to in torch.distributed, or ``ALONE``."""
    from torch import distributed

    together = distributed.is_initialized() and distributed.get_world_size() > 1
    return Workers() if together else ALONE


@contextmanager
def _connected() -> Iterator[None]:
    """End this process if the others cannot be reached; whoever started the workers restarts them."""
    try:
        yield
    except RuntimeError as error:
        raise Gone(f"A worker that shares this trial is gone: {error}") from error


def _alike(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return the tensors grouped by dtype and device, in the order of each group's first tensor."""
    kinds: dict[object, list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    return list(kinds.values())


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    import torch

    flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
    return flat.float() if flat.dtype in {torch.float16, torch.bfloat16} else flat
