"""Ortho-LoRA projects each task's gradient off those that it conflicts with, for A and B apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.checks.runs import unequal
from bench.checks.tiny import RANK, RECIPE, tiny
from bench.methods.lora import LoRA
from bench.methods.ortho_lora import OrthoLoRA, without_conflicts
from bench.methods.visual_drift import trained
from bench.model.change import Change
from bench.plugins.method import Dimensions, LayerShape
from bench.trial.fit import Fitted, fit
from bench.trial.updates import MicroBatchSize, schedule_updates, seed_update
from bench.trial.workers import ALONE

WHOLE = replace(RECIPE, dropout=0.0, connector="frozen", updates=4, batch_size=7)

OnUpdate = Callable[[int, int, float], None]


def joint(method: OrthoLoRA | LoRA, size: int | None = None, **how: Any) -> Fitted:
    return fit(method, RANK, 0, how.pop("recipe", WHOLE), tiny().joint, micro_batch=MicroBatchSize(size), **how)


def test_a_worked_example_of_a_conflict_in_a_and_none_in_b() -> None:
    a, b = torch.tensor([[1.0, 0.0], [-1.0, 1.0]]), torch.tensor([[2.0, 1.0], [1.0, 3.0]])

    assert without_conflicts(a, [0, 1]).tolist() == [[0.5, 0.5], [0.0, 1.0]]
    assert without_conflicts(a, [1, 0]).sum(dim=0).tolist() == [0.5, 1.5]
    assert torch.equal(without_conflicts(b, [0, 1]), b)
    assert without_conflicts(torch.cat([a, b], dim=1), [0, 1]).sum(dim=0)[:2].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ([0, 1, 2], [-0.66666667, 0.33333333, 1.66666667]),
        ([2, 1, 0], [0.16666667, 0.16666667, 1.33333333]),
    ],
)
def test_a_worked_example_of_three_tasks_depends_on_their_order(order: list[int], wanted: list[float]) -> None:
    gradients = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [-1.0, -1.0, 1.0]])

    torch.testing.assert_close(without_conflicts(gradients, order).sum(dim=0), torch.tensor(wanted))


def test_a_task_without_a_gradient_changes_nothing() -> None:
    gradients = torch.tensor([[1.0, -2.0], [0.0, 0.0]])

    assert torch.equal(without_conflicts(gradients, [1, 0]), gradients)


def grouped(names: list[str], unit: str) -> list[list[str]]:
    """Return the groups of parameters that are one vector, from their names alone."""
    groups: dict[str, list[str]] = {}
    for name in names:
        place = {"tensor": name, "layer": name.rpartition(".lora_")[0], "global": ""}[unit]
        groups.setdefault(place, []).append(name)
    return list(groups.values())


def surgery(gradients: list[list[Tensor]], order: list[int]) -> tuple[list[Tensor], int]:
    """Return the sum of what is left of each task's gradient, which is several tensors, and count the conflicts."""
    total, conflicts = [torch.zeros_like(part) for part in gradients[0]], 0
    for i, h in enumerate(gradients):
        for j in order:
            along = float(sum((x * y).sum() for x, y in zip(h, gradients[j], strict=True)))
            if i != j and along < 0:
                conflicts += 1
                square = float(sum(y.square().sum() for y in gradients[j]))
                h = [x - along / square * y for x, y in zip(h, gradients[j], strict=True)]
        total = [x + y for x, y in zip(total, h, strict=True)]
    return total, conflicts


def by_hand(unit: str) -> tuple[Change, int]:
    """Train as the equations say, one number after another; return the change and how often gradients conflicted."""
    bench, conflicts = tiny(), 0
    updates = schedule_updates(LoRA(), bench.joint, WHOLE, 0)
    torch.manual_seed(0)
    model = LoRA().adapt(bench.base.tree(), RANK, WHOLE).train()
    parameters = trained(model)
    optimizer = torch.optim.AdamW(parameters.values(), lr=WHOLE.lr, weight_decay=0.0)
    for index, update in enumerate(updates):
        gradients: list[dict[str, Tensor]] = []
        for numbers in update.share(ALONE).values():
            batch = bench.joint.training_batch(numbers, WHOLE.max_length)
            loss = model(**batch, num_items_in_batch=update.target_tokens, use_cache=False).loss
            found = torch.autograd.grad(loss, list(parameters.values()))
            gradients.append(dict(zip(parameters, found, strict=True)))
        order = torch.randperm(3, generator=seed_update(0, index)).tolist()
        for names in grouped(list(parameters), unit):
            total, found_here = surgery([[each[name] for name in names] for each in gradients], order)
            conflicts += found_here
            for name, gradient in zip(names, total, strict=True):
                parameters[name].grad = gradient
        for group in optimizer.param_groups:
            group["lr"] = WHOLE.lr * (1 + math.cos(math.pi * index / WHOLE.updates)) / 2
        optimizer.step()
    return LoRA().change(model), conflicts


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["tensor", "layer", "global"])
def test_a_training_follows_the_equations(unit: str) -> None:
    wanted, conflicts = by_hand(unit)

    found = joint(OrthoLoRA(unit=unit)).change

    assert conflicts > (0 if unit == "global" else 20)
    for name, delta in wanted.items():
        for part, value in delta.tensors().items():
            torch.testing.assert_close(found[name].tensors()[part], value, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_the_units_differ_from_each_other_and_from_lora() -> None:
    changes = [joint(OrthoLoRA(unit=unit)).change for unit in ("tensor", "layer", "global", "none")]

    assert all(unequal(one, other) for place, one in enumerate(changes) for other in changes[:place])
    assert not unequal(changes[-1], joint(LoRA()).change)


@pytest.mark.slow
def test_one_target_is_lora_bit_for_bit() -> None:
    ours, plain = (fit(method, RANK, 0, RECIPE, tiny().train) for method in (OrthoLoRA(), LoRA()))

    assert not unequal(ours.change, plain.change)
    assert ours.losses == plain.losses


@pytest.mark.slow
def test_an_update_without_examples_of_a_task_takes_part() -> None:
    recipe = replace(WHOLE, batch_size=2)

    assert joint(OrthoLoRA(), recipe=recipe).losses != joint(LoRA(), recipe=recipe).losses


def test_it_keeps_the_gradients_of_every_task() -> None:
    sizes = Dimensions((LayerShape("model.layers.0.q_proj.weight", 5, 3, 0),), 7, 2, 10, tasks=3)

    assert OrthoLoRA().memory(sizes) == {"gradients of the tasks": 3 * 4 * (2 * (5 + 3) + 7)}
    assert OrthoLoRA().memory(replace(sizes, tasks=1)) == OrthoLoRA(unit="none").memory(sizes) == {}
