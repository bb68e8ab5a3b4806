"""The items of the measurement, in their order: updates, answers, an edit, an update on a base in 4 bits."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from bench.environment import reset_peak_memory
from bench.model import four_bit
from bench.model.adapters import insert_lora, lora_adapters, lora_change
from bench.model.change import Change
from bench.plugins.groups import paper_methods
from bench.plugins.method import EditMethod, TrainMethod
from bench.plugins.registry import Registry
from bench.trial.edit import edit
from bench.trial.evaluate import evaluate
from bench.trial.fit import fit
from bench.trial.stages import FIRST, Stage
from bench.trial.updates import MicroBatchSize
from bench.values.recipe import Recipe
from bench.values.resources import Resources
from bench.values.scores import ScoreSpec
from tests.perf.gpu import planned
from tests.perf.gpu.clock import Clock, TimeUp, Updates, finish, memory
from tests.perf.gpu.model import ANSWERS, ON_EACH, RANK, RECIPE, Subject

ROUNDS = 3  # how often all answers are given in each way, after a first time that is not counted
_FIRST = ("lora", "dora", "lorasculpt")
_TASKS = ("questions", "later_questions")

Measured = dict[str, object]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to measure: its name, what is measured, and how.

    An item that ``yields`` leaves a share of the minutes to the items after it.
    """

    name: str
    what: str
    measure: Callable[[Subject, Clock], Measured]
    yields: bool = False


def items() -> list[Item]:
    """Return every item: LoRA, DoRA, LoRASculpt, the paper's other methods, all others; answers, edit, 4 bits."""
    registry = Registry()
    paper = paper_methods(registry)
    known = [name for name in registry.names("method") if issubclass(registry.method(name), TrainMethod)]
    order = [name for name in dict.fromkeys((*_FIRST, *paper, *known)) if name in known]
    order.sort(key=lambda name: registry.method(name).made_for != "target")  # the others start with a stage more
    updates = [Item(name, "update", partial(update, _new(registry, name)), name not in paper) for name in order]
    return [
        *updates,
        Item("answers", f"{ANSWERS} answers", answers),
        Item("edit", "one block of Model Tailor", partial(edited, _new_edit(registry))),
        Item("4bit", "update of LoRA in 4 bits", partial(quantised, _new(registry, "lora"))),
    ]


def _new(registry: Registry, name: str) -> Callable[[], TrainMethod]:
    plugin = registry.method(name)
    assert issubclass(plugin, TrainMethod)
    return plugin


def _new_edit(registry: Registry) -> Callable[[], EditMethod]:
    plugin = registry.method("model_tailor")
    assert issubclass(plugin, EditMethod)
    return plugin


def update(new: Callable[[], TrainMethod], subject: Subject, clock: Clock, recipe: Recipe = RECIPE) -> Measured:
    """Train for 20 updates and return the seconds and the memory of one, beside what the plan foretells."""
    method, device, micro_batch = new(), subject.base.device, MicroBatchSize()
    plain = planned.footprint(subject, new(), recipe)  # an instance of its own, because adapting leaves run state
    saving = planned.needs_checkpointing(plain, device)
    foretold = planned.footprint(subject, new(), recipe, checkpointing=True) if saving else plain
    lessons, watch = subject.lessons_of(method), Updates(device, clock)
    train = partial(fit, corpus=lessons, micro_batch=micro_batch, plain_blocks=0 if saving else None)
    stage = _stage(new, recipe, train)
    with suppress(TimeUp), stage.folded(lessons):
        train(method, RANK, 0, recipe, stage=stage, progress=watch)
    count = micro_batch.size(recipe.batch_size, recipe)
    seconds = planned.update_seconds(subject, method, recipe)
    return {
        "micro_batch": count,
        "gradient_checkpointing": saving,
        **({"status": "stopped"} if len(watch.losses) < recipe.updates else {}),
        **watch.to_json(),
        "trained": foretold.trained,
        "plan_bytes": foretold.total(count),
        "plan_parts": {**foretold.at(count), **foretold.own},
        **({} if seconds is None else {"plan_seconds": seconds}),
    }


def _stage(new: Callable[[], TrainMethod], recipe: Recipe, train: Callable[..., Any]) -> Stage:
    """Return the second stage of a sequence if a method is made for one, because the first is plain LoRA's."""
    method = new()
    if method.made_for != "sequence":
        return FIRST
    first = train(method, RANK, 0, replace(recipe, updates=1), stage=Stage(_TASKS[:1]))
    kept = {name: value.to("cpu", copy=True) for name, value in first.handover.kept.items()}  # as from a run folder
    return Stage(_TASKS, first.change, kept, folds=method.folds)


def answers(subject: Subject, clock: Clock) -> Measured:
    """Answer questions with whole prompts and with shared image prefixes, in turns; count the answers that differ."""
    task, device = subject.test.task, subject.base.device
    asked = ScoreSpec(task.name, "test", ANSWERS, "", task.max_new_tokens, "")
    ways = {"whole": True, "shared": False}
    given, found, took = dict[str, list[str]](), dict[str, Measured](), dict[str, list[float]]()
    for turn in range(ROUNDS + 1):
        for name, whole in ways.items():
            if turn > 1 and clock.left < 0:
                continue
            reset_peak_memory(device)
            began = time.perf_counter()
            said = evaluate(subject.base.model, subject.test, asked, whole=whole)
            finish(device)
            took.setdefault(name, []).append(time.perf_counter() - began)
            given[name], found[name] = [answer.prediction for answer in said], memory(device)
    for name, each in took.items():
        found[name] |= {"seconds": statistics.median(each[1:]), "each_seconds": each[1:], "warm_seconds": each[0]}
    batch = Resources().eval_batch_size
    return {
        "questions": ANSWERS,
        "on_each_picture": ON_EACH,
        "at_once": batch,
        "new_tokens": task.max_new_tokens,
        **found,
        "differ": sum(one != other for one, other in zip(given["whole"], given["shared"], strict=True)),
        "plan_bytes": planned.answering(subject, RECIPE, task.max_new_tokens).total(batch),
    }


def edited(new: Callable[[], EditMethod], subject: Subject, clock: Clock) -> Measured:
    """Edit a drawn change of the first decoder block."""
    method, device = new(), subject.base.device
    change = _first_block(subject)
    subject.train.training_batch(range(1), RECIPE.max_length)  # the tower's work is not timed
    reset_peak_memory(device)
    done = edit(method, change, 0, RECIPE, subject.train)
    finish(device)
    foretold = planned.footprint(subject, method, RECIPE)
    return {
        "seconds": done.seconds,
        "layers": len(change),
        "examples": getattr(method, "n_samples", None),
        **memory(device),
        "plan_bytes": foretold.total(0),
        "plan_parts": {**foretold.at(0), **foretold.own},
    }


@torch.no_grad()
def _first_block(subject: Subject) -> Change:
    """Return a LoRA's change of the first block, with a drawn B, because B starts at zero."""
    torch.manual_seed(0)
    model = insert_lora(subject.base.tree(), RANK, RECIPE)
    first = [adapter for adapter in lora_adapters(model) if adapter.block == 0]
    for adapter in first:
        adapter.b.normal_(std=1e-3)
    whole = lora_change(model)
    return Change({adapter.name: whole[adapter.name] for adapter in first})


def quantised(new: Callable[[], TrainMethod], subject: Subject, clock: Clock) -> Measured:
    """Quantise the decoder in place and return the seconds and the memory of an update on it.

    The model is in 4 bits from then on, so this is the last item.
    """
    base = subject.base
    dtype, recipe = getattr(torch, RECIPE.train_dtype), replace(RECIPE, quantization="4bit")
    began = time.monotonic()
    four_bit.quantise(base.model, base.family.decoder_linears, dtype, base.device)
    finish(base.device)
    took = time.monotonic() - began
    return {"quantising_seconds": took, **update(new, subject, clock, recipe)}
