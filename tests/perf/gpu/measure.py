"""Measure item after item, keep what was found in a file that is always whole, and print a table."""

from __future__ import annotations

import gc
import json
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.environment import UNKNOWN, attention, commit, evaluation_environment
from bench.errors import one_line
from bench.store.drafts import replace_file
from bench.values.resources import Resources
from bench.values.scores import EVAL_VERSION
from bench.values.trial import FIT_VERSION
from tests.perf.gpu.clock import Clock
from tests.perf.gpu.items import Item
from tests.perf.gpu.model import RANK, RECIPE, Subject
from tests.perf.gpu.table import show_table

_RESERVED = 0.25  # of the minutes: what methods outside the paper leave to the items after them
_NO_ROOM = "does not fit in memory"  # in the errors of a training and of answers after the last halving


def device_named(name: str) -> torch.device | None:
    """Return a device, or None if this machine does not have it; ``pretend`` makes the pretend device."""
    if name == "pretend":
        from bench.checks.pretend_device import register

        return register()
    if name.startswith("cuda") and not torch.cuda.is_available():
        return None
    return torch.device(name)


@dataclass(slots=True)
class Measurement:
    """The items that were measured, and the file that holds them."""

    output: Path
    device: torch.device
    clock: Clock
    small: bool
    facts: dict[str, Any] = field(default_factory=dict)
    items: list[dict[str, Any]] = field(default_factory=list)

    def run(self, items: Sequence[Item]) -> None:
        """Draw the model, measure every item for which there is time, and print the table."""
        self.facts = facts(self.device) | {"minutes": self.clock.seconds / 60, "tiny": self.small}
        self._save()
        subject = self._draw()
        for item in items if subject is not None else ():
            assert subject is not None
            self.items.append(self._measured(item, subject))
            self._save()
            print(f"{self.clock.passed:5.0f} s  {item.name}: {self.items[-1]['status']}", flush=True)
        show_table(self.facts, self.items)
        print(f"The same, with every part: {self.output}")

    def _draw(self) -> Subject | None:
        """Return the drawn model, or None if it could not be drawn; the file says why."""
        subject = None
        try:
            subject = Subject.of(self.device, small=self.small)
        except Exception as error:  # noqa: BLE001  the file must say what went wrong
            self.items.append({"item": "model", "what": "drawn at random", **failure(error)})
        else:
            self.facts |= described(subject)
        self._save()
        return subject

    def _measured(self, item: Item, subject: Subject) -> dict[str, Any]:
        """Measure an item if there is time for it; free what it leaves."""
        named: dict[str, Any] = {"item": item.name, "what": item.what}
        self.clock.reserve = _RESERVED * self.clock.seconds if item.yields else 0.0
        if (left := self.clock.left) < (needed := self._needed(item)) or left <= 0:
            return {**named, "status": "skipped", "reason": f"{max(left, 0):.0f} s left, {needed:.0f} needed"}
        began = self.clock.passed
        try:
            found = {"status": "done", **item.measure(subject, self.clock)}
        except Exception as error:  # noqa: BLE001  the next item goes on
            found = failure(error)
        _free(self.device)
        return {**named, **found, "took_seconds": self.clock.passed - began}

    def _needed(self, item: Item) -> float:
        """Return the seconds that an item is taken to need: the median of its kind, or what the shortest item took.

        A training that takes longer stops itself. Only whole items count.
        """
        done = [each for each in self.items if each["status"] == "done"]
        alike = [each["took_seconds"] for each in done if each["what"] == item.what]
        return statistics.median(alike) if alike else min((each["took_seconds"] for each in done), default=0.0)

    def _save(self) -> None:
        replace_file(self.output, json.dumps({"facts": self.facts, "items": self.items}, indent=1) + "\n")


def facts(device: torch.device) -> dict[str, Any]:
    """Return versions and hardware; a library that is missing is unknown."""
    found: dict[str, Any] = evaluation_environment(nn.Module(), RECIPE.eval_dtype, Resources().eval_batch_size, device)
    for name in ("retain-bench", "peft", "safetensors", "bitsandbytes"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = UNKNOWN
    if device.type == "cuda":
        found["memory_bytes"] = torch.cuda.get_device_properties(device).total_memory
        found["free_bytes"] = torch.cuda.mem_get_info(device)[0]
    versions = {"FIT_VERSION": FIT_VERSION, "EVAL_VERSION": EVAL_VERSION}
    return found | {"python": platform.python_version(), "commit": commit(), **versions}


def described(subject: Subject) -> dict[str, Any]:
    """Return what the drawn model and its examples are."""
    return {
        "attention": attention(subject.base.model),
        "parameters": subject.blueprint.parameters,
        "drawing_seconds": subject.drawing_seconds,
        "tokens": subject.tokens,
        "rank": RANK,
        "recipe": asdict(RECIPE),
    }


def failure(error: BaseException) -> dict[str, Any]:
    """Return how an item ended, and the error in one line."""
    chain = [*_chain(error)]
    status = "failed"
    if any(isinstance(item, ImportError) for item in chain):
        status = "library missing"
    if any(isinstance(item, torch.OutOfMemoryError) or _NO_ROOM in str(item) for item in chain):
        status = "out of memory"
    return {"status": status, "error": f"{type(error).__name__}: {one_line(error)}"}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and the errors that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _free(device: torch.device) -> None:
    """Give back the memory that nothing holds any more, so that the next item has all of it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
