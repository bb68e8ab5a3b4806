"""What ``bench plan`` foretells of an item: its memory, and its seconds if it knows the device's speed."""

from __future__ import annotations

from dataclasses import replace

import torch

from bench.plugins.method import Method, TrainMethod
from bench.prepare.price.memory import RUNTIME, Footprint, editing, evaluation, training
from bench.prepare.price.quote import LEARNT_TOKENS
from bench.prepare.price.rates import here, published
from bench.values.recipe import Recipe
from tests.perf.gpu.model import RANK, Subject


def footprint(subject: Subject, method: Method, recipe: Recipe, *, checkpointing: bool = False) -> Footprint:
    """Return the memory of a training or an edit, without the runtime of the device."""
    found = subject.blueprint.dimensions(RANK, recipe, subject.tokens)
    tasks = len(subject.joint.tasks) if method.made_for == "joint" else 1
    dimensions = replace(found, learnt=LEARNT_TOKENS, tasks=tasks)
    if not isinstance(method, TrainMethod):
        return editing(method, subject.blueprint, recipe, dimensions)
    adapted = subject.blueprint.adapt(method, RANK, recipe, subject.tokens)
    plain = 0 if checkpointing else subject.blueprint.blocks
    return training(method, subject.blueprint, recipe, dimensions, adapted, plain=plain)


def needs_checkpointing(item: Footprint, device: torch.device) -> bool:
    """Whether not even a micro-batch of one example fits the device, as ``bench plan`` counts."""
    if device.type != "cuda":
        return False
    return item.total(1) + RUNTIME > int(torch.cuda.get_device_properties(device).total_memory)


def update_seconds(subject: Subject, method: Method, recipe: Recipe) -> float | None:
    """Return the seconds of an update, or None if the plan does not know the speed of the device."""
    fleet = here()
    rates = None if fleet is None else published(subject.blueprint.parameters, fleet.gpu)
    return None if rates is None else recipe.batch_size / rates.of(method.name, method.slowdown())


def answering(subject: Subject, recipe: Recipe, new_tokens: int) -> Footprint:
    """Return the memory of generated answers."""
    return evaluation(subject.blueprint, recipe, subject.tokens, new_tokens)
