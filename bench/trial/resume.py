"""Save and restore a training's state, and act at its snapshots."""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.environment import together
from bench.model.change import Change
from bench.plugins.hyperparameters import state_names
from bench.plugins.method import TrainMethod
from bench.store import drafts, places
from bench.trial.workers import Group

log = logging.getLogger(__name__)

_EVERY_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Snapshots:
    """The actions at some steps of a training: ``keep`` the change, then ``judge`` whether to continue.

    If ``judge`` raises, the training can resume from its checkpoint later. ``has`` says whether a step's snapshot is
    kept.
    """

    steps: tuple[int, ...] = ()
    keep: Callable[[int, Change], None] = lambda step, change: None
    judge: Callable[[int], None] = lambda step: None
    has: Callable[[int], bool] = lambda step: True

    def judge_again(self, saved: Checkpoint, start: int) -> None:
        """Judge again every step up to ``start``: the training may have been killed during a verdict."""
        for step in self.steps:
            if step <= start:
                saved.pause(self.judge, step)

    def save(self, saved: Checkpoint, step: int, change: Callable[[], Change], *, due: bool) -> None:
        """Keep a snapshot before the checkpoint that includes its step, and judge the snapshot afterwards."""
        taken = step in self.steps
        if taken:
            self.keep(step, change())
        saved.save(step, due=due or taken)
        if taken:
            saved.pause(self.judge, step)


NO_SNAPSHOTS = Snapshots()


class Checkpoint:
    """A training's state on disk, written atomically; the first worker writes it, and all workers read it."""

    def __init__(
        self,
        path: Path | None,
        parameters: Sequence[Tensor],
        parts: Mapping[str, Any],
        method: TrainMethod,
        group: Group,
        environment: Mapping[str, str],
    ) -> None:
        self.losses: list[float] = []
        self.environment = dict(environment)  # of all attempts that led to this state
        self._path = path
        self._parameters = parameters
        self._parts = parts
        self._method = method
        self._group = group
        self._before = 0.0
        self._began = self._saved_at = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds trained so far, over all attempts."""
        return self._before + time.monotonic() - self._began

    def pause(self, action: Callable[[int], None], step: int) -> None:
        """Run ``action`` without counting its time as training."""
        began = time.monotonic()
        action(step)
        self._began += time.monotonic() - began

    def load(self, snapshots: Snapshots) -> int:
        """Restore the checkpoint and return the next update, or 0 if there is nothing to resume.

        A checkpoint is not restored if a snapshot before it is missing, or if the workers see different checkpoints.
        """
        saved = self._read()
        index = 0 if saved is None else int(saved["index"])
        if len(set(self._group.gather(index))) > 1:
            log.warning("The workers see different states of %s. The training starts from the beginning.", self._path)
            return 0
        if saved is None or any(step <= index and not snapshots.has(step) for step in snapshots.steps):
            return 0
        with torch.no_grad():
            for parameter, value in zip(self._parameters, saved["parameters"], strict=True):
                parameter.copy_(value)
        for name, part in self._parts.items():
            part.load_state_dict(saved[name])
        for name, value in saved["method"].items():
            setattr(self._method, name, value)
        self.losses[:] = saved["losses"]
        self._before = saved["seconds"]
        self.environment = together(saved.get("environment", {}), self.environment)
        return index

    def save(self, index: int, *, due: bool) -> None:
        """Write the state if it is due, or if the last write is more than five minutes old."""
        late = time.monotonic() - self._saved_at > _EVERY_SECONDS
        if self._path is None or self._group.rank > 0 or not (due or late):
            return
        state = {
            "index": index,
            "parameters": [parameter.detach() for parameter in self._parameters],
            "method": {name: getattr(self._method, name) for name in state_names(self._method)},
            "losses": self.losses,
            "seconds": self.seconds(),
            "environment": self.environment,
            **{name: part.state_dict() for name, part in self._parts.items()},
        }
        with drafts.drafted(self._path) as draft, draft.open("wb") as file:
            torch.save(state, file)  # to a path, torch hides the error of a full disk
        self._saved_at = time.monotonic()

    def _place(self, storage: Any, location: str) -> Any:
        """Move a tensor from the GPU of the worker that wrote it to this worker's device."""
        return storage if location == "cpu" else storage.to(device=self._parameters[0].device)

    def _read(self) -> dict[str, Any] | None:
        if self._path is None or not self._path.is_file():
            return None
        try:
            with places.fetched(self._path) as file:
                saved: dict[str, Any] = torch.load(file, map_location=self._place, weights_only=True)
        except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
            if "Unsupported global" in str(error):  # the file is whole; torch cannot load what the method keeps
                raise
            log.warning("%s is damaged (%s). The training starts from the beginning.", self._path, error)
            return None
        return saved
