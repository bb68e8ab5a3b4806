"""Checks of how a method learns a sequence of tasks, on two stages of the tiny model."""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench.checks.runs import (
    TASKS,
    Watched,
    begun,
    continued,
    few,
    following,
    global_generators,
    logits,
    plain_second,
    unequal,
)
from bench.checks.tiny import RANK, RECIPE, tiny
from bench.errors import PluginError
from bench.plugins.method import TrainMethod
from bench.store.changes import Handover
from bench.trial.fit import Fitted
from bench.trial.hooks import called
from bench.trial.stages import FIRST, Stage

_WITHIN = 1e-3  # absolute, for float32 logits of size 1

Plugin = type[TrainMethod]


def check_first_stage_starts_at_the_base_model(plugin: Plugin) -> None:
    """``start`` changes no output in stage 1, which is an ordinary training."""
    bench = tiny()
    wanted, method = logits(bench.base.model, bench), plugin()
    model = called(method.adapt, bench.base.tree(), RANK, RECIPE)
    with torch.no_grad():
        called(method.start, model, FIRST.start(bench.lessons, RECIPE, 0))
    gap = float((logits(model, bench) - wanted).abs().max())
    if not gap <= _WITHIN:
        raise PluginError(f"In stage 1, start() changes outputs by {gap:.2g}. Do nothing there if start.stage is 1.")


def check_next_stage_reproduces_outputs(plugin: Plugin) -> None:
    """After a second stage, base + change gives the outputs of the model that was trained.

    A method that keeps tensors for the next stage may return another change, such as an average over the stages.
    """
    bench, stage, watched = tiny(), _second(plugin), Watched(inner=plugin())
    fitted = continued(watched, stage, bench)
    with stage.folded(bench.later):
        wanted = logits(watched.model, bench)
    with bench.base.holding(fitted.change) as model:
        gap = float((logits(model, bench) - wanted).abs().max())
    if not gap <= _WITHIN and not fitted.handover.kept:
        raise PluginError(
            f"After stage 2, outputs of base + change() differ by {gap:.2g} from the trained model's. Return from "
            "change() what the forward pass adds to the model that start() found, or keep() what only training needs."
        )


def check_next_stage_differs_from_lora(plugin: Plugin) -> None:
    """At the defaults of a method made for sequences, a second stage differs from plain LoRA's."""
    method, ours = plugin(), _later(plugin)
    if not unequal(ours.change, plain_second(method.lr, method.made_for)) and not ours.handover.bank:
        raise PluginError(
            f"At its defaults, {plugin.__name__} learns a second task exactly as plain LoRA does. "
            "Choose defaults that have an effect within six updates."
        )


def check_next_stage_is_deterministic(plugin: Plugin) -> None:
    """One seed gives bitwise equal weights in a second stage, even if other code has drawn random numbers."""
    with global_generators(2):
        again = continued(plugin(), _second(plugin))
    if names := _differing(_later(plugin), again):
        raise PluginError(
            f"Two second stages with one seed differ in {few(names)}. In start(), draw only from start.generator."
        )


def check_next_stage_resumes(plugin: Plugin) -> None:
    """A second stage that is stopped and resumed in a new instance equals an unbroken one, with all that it leaves."""
    with TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint.pt"
        with suppress(_Killed):
            continued(plugin(), _second(plugin), checkpoint=checkpoint, progress=_die)
        resumed = continued(plugin(), _second(plugin), checkpoint=checkpoint)
    if names := _differing(_later(plugin), resumed):
        raise PluginError(
            f"After a stop and a resume in stage 2, {few(names)} differ from those of an unbroken run. Keep what "
            "start() makes and the training changes in fields declared field(init=False)."
        )


def check_keep_and_bank_only_read(plugin: Plugin) -> None:
    """``keep`` and ``bank`` return the same at a second call, and change no weight."""
    watched = Watched(inner=plugin())
    fitted = continued(watched, _second(plugin))
    with torch.no_grad():
        again = Handover(fitted.handover.own, called(watched.keep, watched.model), called(watched.bank, watched.model))
        change = fitted.change if fitted.handover.own is not None else called(watched.change, watched.model)
    if names := _differing(fitted, replace(fitted, change=change, handover=again)):
        raise PluginError(f"keep() or bank() changes what was learnt: {few(names)}. Only read the model there.")


def check_bank_has_only_earlier_tasks(plugin: Plugin) -> None:
    """``bank`` names tasks of earlier stages, and none in stage 1."""
    banks = (_first(plugin).handover.bank, _later(plugin).handover.bank)
    for stage, bank in enumerate(banks, 1):
        if unknown := next((task for task in bank if task not in TASKS[: stage - 1]), None):
            raise PluginError(
                f"After stage {stage}, bank() has {unknown!r}, which is not an earlier task. Use start.tasks[:-1]."
            )


def check_off_continues_as_plain_lora(plugin: Plugin) -> None:
    """With ``off`` set, a second stage gives exactly the weights of plain LoRA's second stage, bit for bit.

    If the method folds, plain LoRA also trains its second stage on the merged change of the first one.
    """

    def off() -> TrainMethod:
        return plugin(**plugin.off)  # type: ignore[arg-type]

    ours = continued(off(), following(off(), begun(off())))
    theirs = plain_second(off().lr, plugin.made_for, folds=plugin.folds)
    if names := unequal(ours.change, theirs):
        settings = ", ".join(f"{name}={value}" for name, value in plugin.off.items())
        raise PluginError(
            f"With {settings}, {few(names)} of stage 2 differ from plain LoRA's. With off set, continue as it does."
        )


@cache
def _first(plugin: Plugin) -> Fitted:
    return begun(plugin())


def _second(plugin: Plugin) -> Stage:
    """Return the second stage after a first one at the defaults; each call returns new tensors."""
    return copy.deepcopy(following(plugin(), _first(plugin)))


@cache
def _later(plugin: Plugin) -> Fitted:
    """Return a second stage at the defaults: it is trained once for all checks that only read it."""
    with global_generators(1):
        return continued(plugin(), _second(plugin))


class _Killed(Exception):  # noqa: N818  it simulates a kill signal, which is not an error
    """Raised in the middle of a training, to end it as a kill would."""


def _die(index: int, total: int, loss: float) -> None:
    if index == total - 1:
        raise _Killed


def _differing(one: Fitted, other: Fitted) -> list[str]:
    """Return what differs between two stages: weights, kept tensors by name, and banks by task."""
    mine, theirs = one.handover, other.handover
    names = unequal(one.change, other.change)
    names += [
        f"what keep() calls {name!r}"
        for name in {**mine.kept, **theirs.kept}
        if name not in mine.kept or name not in theirs.kept or not torch.equal(mine.kept[name], theirs.kept[name])
    ]
    return names + [
        f"the bank's change for {task!r}"
        for task in {**mine.bank, **theirs.bank}
        if task not in mine.bank or task not in theirs.bank or unequal(mine.bank[task], theirs.bank[task])
    ]
