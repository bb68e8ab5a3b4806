"""One of two processes joined by gloo, which does what a test asks: run as ``worker.py RANK FILE DESCRIPTOR``."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import torch
from torch import Tensor, distributed, nn

from bench.checks.tiny import RANK, RECIPE, tiny
from bench.errors import WriteError
from bench.plugins.method import Start, Step, TrainMethod
from bench.plugins.registry import Registry
from bench.plugins.tasks import Tasks
from bench.store.changes import Snapshot, StoredChange
from bench.store.run_folder import Store
from bench.store.scores import StoredScores
from bench.trial.fit import fit
from bench.trial.runner import TrialRunner
from bench.trial.stages import FIRST, Stage
from bench.trial.updates import MicroBatchSize, seed_update
from bench.trial.workers import ALONE, Failure, Group, joined
from bench.values.job import Job
from bench.values.recipe import Recipe
from bench.values.record import Record
from bench.values.resources import Resources

LoRA = Registry().method("lora")


class Recording(TrainMethod):
    """Mixed into a method: starts it off where its penalty acts, and keeps the weights after each update."""

    weights: list[Tensor]

    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        adapted = super().adapt(model, rank, recipe)  # type: ignore[safe-super]  # of the method it is mixed into
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for item in adapted.parameters():
                if item.requires_grad:
                    item.add_(torch.randn(item.shape, generator=generator), alpha=0.02)
        return adapted

    def start(self, model: nn.Module, start: Start) -> None:
        super().start(model, start)
        self.weights = [_flat(model)]

    def on_update(self, step: Step) -> None:
        super().on_update(step)
        self.weights.append(_flat(step.model))


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([item.detach().flatten() for item in model.parameters() if item.requires_grad])


@dataclass(kw_only=True)
class Projected(LoRA):  # type: ignore[valid-type, misc]
    """LoRA whose gradient keeps clear of a second one, which it adds up over micro-batches and workers."""

    name: ClassVar[str] = "projected"

    second_: list[Tensor] = field(init=False, default_factory=list)

    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        adapted: nn.Module = super().adapt(model, rank, recipe)
        self.second_ = [torch.zeros_like(item) for item in adapted.parameters() if item.requires_grad]
        return adapted

    def backward(self, step: Step) -> None:
        trained = [item for item in step.model.parameters() if item.requires_grad]
        said = step.batch["labels"] != -100
        inputs = {name: value for name, value in step.batch.items() if name != "labels"}
        logits = step.model(**inputs, use_cache=False).logits
        second = torch.autograd.grad(logits[said].square().sum(), trained)
        for total, part in zip(self.second_, second, strict=True):
            total.add_(part)
        step.loss.backward()  # type: ignore[no-untyped-call]

    def on_gradients(self, step: Step) -> None:
        step.all_reduce(self.second_)
        trained = [item for item in step.model.parameters() if item.requires_grad]
        for item, second in zip(trained, self.second_, strict=True):
            assert item.grad is not None
            share = (item.grad * second).sum() / second.square().sum().clamp(min=1e-12)
            item.grad.sub_(share * second)
            second.zero_()


@dataclass(kw_only=True)
class Careless(LoRA):  # type: ignore[valid-type, misc]
    """LoRA that draws noise from torch's own generator."""

    name: ClassVar[str] = "careless"

    def on_update(self, step: Step) -> None:
        for item in step.model.parameters():
            if item.requires_grad:
                item.add_(torch.randn_like(item), alpha=1e-3)


@dataclass(kw_only=True)
class Crowded(Projected):
    """A method for which no more than three examples fit in memory: it finds out after it has added gradients."""

    name: ClassVar[str] = "crowded"

    def backward(self, step: Step) -> None:
        super().backward(step)
        if len(step.batch["labels"]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")


def learn(
    name: str,
    hyper: Mapping[str, Any],
    recipe: Recipe,
    together: bool,
    stage: Stage = FIRST,
    joint: bool = False,
) -> dict[str, Any]:
    """Train on the checks' squares, in one group or each worker for itself, and return all there is to compare."""
    ours: dict[str, type] = {"projected": Projected, "crowded": Crowded, "careless": Careless}
    method = type("Recorded", (Recording, ours.get(name) or Registry().method(name)), {})(**hyper)
    micro_batch, bench, group = MicroBatchSize(), tiny(), joined() if together else ALONE
    lessons = bench.joint if joint else bench.lessons_of(method)
    with stage.folded(lessons):
        fitted = fit(method, RANK, 0, recipe, lessons, stage=stage, group=group, micro_batch=micro_batch)
    return {
        "weights": torch.stack(method.weights),
        "losses": fitted.losses,
        "micro_batch_size": fitted.micro_batch_size,
        "found": micro_batch.found,
        "masks": {name: mask.clone() for name, mask in getattr(method, "masks_", {}).items()},
    }


def gradients(recipe: Recipe, together: bool) -> dict[str, Tensor]:
    """Return the gradients of a training's first update, in one group or each worker for itself."""
    found: dict[str, Tensor] = {}

    class Noting(Recording, LoRA):  # type: ignore[valid-type, misc]
        def on_gradients(self, step: Step) -> None:
            for name, item in step.model.named_parameters():
                if item.grad is not None:
                    found.setdefault(name, item.grad.clone())

    fit(Noting(), RANK, 0, recipe, tiny().lessons, group=joined() if together else ALONE)
    return found


STAGES: dict[str, tuple[Any, str]] = {
    "adapt": (LoRA, "adapt"),
    "backward": (TrainMethod, "backward"),
    "penalty": (TrainMethod, "penalty"),
    "on_gradients": (TrainMethod, "on_gradients"),
    "on_update": (TrainMethod, "on_update"),
    "change": (LoRA, "change"),
    "checkpoint": (torch, "load"),
    "snapshot": (Snapshot, "write"),
    "commit": (StoredChange, "write"),
    "read": (StoredChange, "read"),
    "evaluate": ("bench.trial.scoring", "evaluate"),
    "scores": (StoredScores, "write"),
    "record": (Store, "write"),
    "edit": ("bench.trial.runner", "edit"),
}


def run(
    setup: Mapping[str, Any], job: Job, broken: tuple[str, int, int] | None = None, code: int = errno.EIO
) -> Record:
    """Do a piece of work; ``broken`` names a stage, the worker on which it raises, and the calls before that."""
    group = joined() if setup.get("together", True) else ALONE
    tasks, resources = Tasks(Registry([setup["tasks"]])), setup.get("resources", Resources())
    bench = TrialRunner(Store(setup["output"]), setup["model"], tasks, group=group, resources=resources)
    judge = setup.get("judge", lambda step, source, target: True)
    if broken is None or broken[1] != group.rank:
        return bench.run(job, judge=judge)
    stage, _, calls = broken
    owner, name = STAGES[stage]
    owner = sys.modules[owner] if isinstance(owner, str) else owner
    with mock.patch.object(owner, name, _breaking(getattr(owner, name), stage, calls, code)):
        return bench.run(job, judge=judge)


def _breaking(whole: Callable[..., Any], stage: str, calls: int, code: int) -> Callable[..., Any]:
    left = calls

    def broken(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(code, f"No answer from {stage}")
        return whole(*arguments, **options)

    return broken


def full(setup: Mapping[str, Any], job: Job, broken: tuple[str, int, int]) -> str:
    """Do a piece of work while the disk is full for one worker, and return the line that stops this worker."""
    try:
        return run(setup, job, broken, errno.ENOSPC).status
    except WriteError as error:
        return str(error)


def judged(setup: Mapping[str, Any], job: Job) -> tuple[Record, list[int]]:
    """Do a piece of work whose search stops it at step 2, and return the steps that this worker was asked about."""
    asked: list[int] = []

    def judge(step: int, source: float, target: float) -> bool:
        asked.append(step)
        return step < 2

    return run({**setup, "judge": judge}, job), asked


def drawn(seed: int, index: int) -> tuple[float, float]:
    """Return what dropout would draw in an update, and what a hook would."""
    generator = seed_update(seed, index, joined())
    return torch.rand(()).item(), torch.rand((), generator=generator).item()


def summed(tensors: list[list[Tensor]]) -> list[Tensor]:
    """Return the sum of each worker's tensors."""
    group = joined()
    mine = tensors[group.rank]
    group.sum(mine)
    return mine


def told(reasons: list[str | None], act: str) -> tuple[str, str]:
    """Fail where there is a reason, elsewhere do ``act``; return what that raised and what the trial ended with."""
    group = joined()
    raised = ""
    reason = reasons[group.rank]
    if reason is None:
        try:
            _act(group, act)
        except Exception as error:  # noqa: BLE001  its text is what is tested
            raised = f"{type(error).__name__}: {error}"
    ended = group.settle(None if reason is None else Failure(reason, ""))
    return raised, "" if ended is None else ended.reason


def _act(group: Group, act: str) -> None:
    if act == "sum":
        group.sum([torch.ones(2)])
    elif act == "gather":
        group.gather(group.rank)
    elif act == "first":
        group.first(lambda: 1)
    elif act == "apart":
        group.sum([torch.ones(2 + group.rank)])
    elif act == "unsendable":
        group.gather((lambda: 1) if group.rank else 1)


def gathered(value: str) -> tuple[list[str], str]:
    """Return what all workers gave, and what the first said."""
    group = joined()
    return group.gather(f"{value}{group.rank}"), group.first(lambda: f"{value}{group.rank}")


def killed(rank: int) -> str:
    """Train until one worker kills itself in an update; the other returns what it leaves by."""

    @dataclass(kw_only=True)
    class Fatal(LoRA):  # type: ignore[valid-type, misc]
        def on_update(self, step: Step) -> None:
            if step.index == 1 and joined().rank == rank:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        fit(Fatal(), RANK, 0, replace(RECIPE, updates=50), tiny().train, group=joined())
    except SystemExit as error:
        return str(error)
    return "nothing happened"


def main(rank: int, file: Path, descriptor: int) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    channel = Connection(descriptor)
    while True:
        name, arguments = pickle.loads(channel.recv_bytes())  # bytes: torch would share memory, under a key of its own
        channel.send_bytes(pickle.dumps(globals()[name](*arguments)))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
