"""MTL-LoRA learns all tasks at once with shared A and B, and answers each with a change of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench import LowRank, PluginError, compute_factors, lora_adapters, lora_change
from bench.checks.runs import logits, unequal
from bench.checks.tiny import RANK, RECIPE, Tiny, tiny
from bench.methods.lora import LoRA
from bench.methods.mtl_lora import MTLLoRA, Transformed, WeightedSum
from bench.model.change import Change
from bench.plugins.method import Dimensions, LayerShape, banks
from bench.trial.fit import Fitted, fit
from bench.trial.mixture import Union
from bench.trial.stages import Stage
from bench.trial.updates import MicroBatchSize, schedule_updates
from bench.trial.workers import ALONE

WHOLE = replace(RECIPE, dropout=0.0, connector="frozen", updates=4, batch_size=7)
TASKS = ("squares", "old_squares", "older_squares")
METHODS = [
    MTLLoRA(),
    MTLLoRA(transform="diagonal", temperature=0.1),
    MTLLoRA(bases=1),
    MTLLoRA(transform="identity"),
]


@dataclass(kw_only=True)
class Kept(MTLLoRA):  # type: ignore[misc]
    """MTL-LoRA that keeps the trained model."""

    name: ClassVar[str] = "kept"
    models: list[nn.Module] = field(default_factory=list)

    def start(self, model: nn.Module, start: Any) -> None:
        super().start(model, start)
        self.models.append(model)


def joint(method: LoRA, size: int | None = None, **how: Any) -> Fitted:
    return fit(method, RANK, 0, how.pop("recipe", WHOLE), tiny().joint, micro_batch=MicroBatchSize(size), **how)


def answers(fitted: Fitted) -> dict[str, Change]:
    """Return the change with which each task is answered."""
    return {task: fitted.handover.bank.get(task, fitted.change) for task in TASKS}


def test_a_worked_example_of_a_layer() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(  # type: ignore[arg-type]
        nn.Sequential(nn.Linear(2, 2, bias=False)), LoraConfig(r=2, lora_alpha=4, target_modules=["0"])
    )
    (adapter,) = lora_adapters(model)
    mixed = WeightedSum(adapter.b, torch.tensor([[0.0, 0.0], [0.2, -0.2]]), 0.5)
    transformed = Transformed(adapter.a, 2, diagonal=False)
    with torch.no_grad():
        adapter.a.copy_(torch.eye(2))
        adapter.b.copy_(torch.eye(2))
        mixed.others[0] = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        transformed.transforms[1] = torch.tensor([[1.0, 1.0], [0.0, 2.0]])
    compute_factors(model, adapter, a=transformed, b=mixed)
    mixed.task = transformed.task = 1

    (delta,) = lora_change(model).values()

    assert isinstance(delta, LowRank)
    assert mixed(torch.eye(2)).tolist()[0] == pytest.approx([0.68997448, 0.31002552])
    torch.testing.assert_close(delta.product(), torch.tensor([[1.37994896, 2.62005104], [0.62005104, 3.37994896]]))


def test_a_diagonal_transform_scales_the_rows_of_a() -> None:
    a = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    scaled = Transformed(a, 1, diagonal=True)
    with torch.no_grad():
        scaled.transforms[0] = torch.tensor([2.0, -1.0])

    assert scaled(a).tolist() == [[2.0, 4.0, 6.0], [-4.0, -5.0, -6.0]]


class ByHand:
    """The trained numbers of MTL-LoRA, and the weights of the base model with a task's change."""

    def __init__(self, bench: Tiny, method: MTLLoRA) -> None:
        torch.manual_seed(0)
        start = LoRA().adapt(bench.base.tree(), RANK, WHOLE)
        generator = Stage().start(bench.joint, WHOLE, 0).generator
        self.method, self.scale = method, WHOLE.scale
        self.base = {adapter.name: adapter.weight for adapter in lora_adapters(start)}
        self.a, self.b, self.lambdas, self.scores = ({} for _ in range(4))
        for adapter in lora_adapters(start):
            self.a[adapter.name] = adapter.a.detach().clone()
            self.b[adapter.name] = [torch.zeros_like(adapter.b) for _ in range(method.bases)]
            self.lambdas[adapter.name] = [torch.eye(RANK) for _ in TASKS]
            bound = 1 / math.sqrt(method.bases)
            drawn = torch.rand(3, method.bases, generator=generator) * 2 * bound - bound
            self.scores[adapter.name] = list(drawn)

    @property
    def trained(self) -> list[Tensor]:
        found = [*self.a.values()]
        for several in (self.b, self.scores, self.lambdas if self.method.transform == "full" else {}):
            found += [each for of in several.values() for each in of]
        return [tensor.requires_grad_() for tensor in found]

    def delta(self, name: str, task: int) -> Tensor:
        weights = torch.exp(self.scores[name][task] / self.method.temperature)
        b = sum(weight * each for weight, each in zip(weights / weights.sum(), self.b[name], strict=True))
        delta: Tensor = self.scale * b @ self.lambdas[name][task] @ self.a[name]
        return delta


@pytest.mark.slow
@pytest.mark.parametrize("method", [MTLLoRA(), MTLLoRA(transform="identity", bases=2, temperature=0.1)])
def test_a_training_follows_the_equations(method: MTLLoRA) -> None:
    bench = tiny()
    by_hand = ByHand(bench, method)
    optimizer = torch.optim.AdamW(by_hand.trained, lr=WHOLE.lr, weight_decay=0.0)
    for index, update in enumerate(schedule_updates(LoRA(), bench.joint, WHOLE, 0)):
        for task, numbers in enumerate(update.share(ALONE).values()):
            batch: dict[str, Any] = bench.joint.training_batch(numbers, WHOLE.max_length)
            weights = {name: weight + by_hand.delta(name, task) for name, weight in by_hand.base.items()}
            how = {**batch, "num_items_in_batch": update.target_tokens, "use_cache": False}
            functional_call(bench.base.model, weights, (), how).loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = WHOLE.lr * (1 + math.cos(math.pi * index / WHOLE.updates)) / 2
        optimizer.step()
        optimizer.zero_grad()

    found = answers(joint(replace(method)))

    for task, change in enumerate(found.values()):
        for name, delta in change.items():
            assert isinstance(delta, LowRank)
            torch.testing.assert_close(delta.product(), by_hand.delta(name, task).detach(), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_each_task_has_a_change_that_equals_the_live_model_for_that_task(method: MTLLoRA) -> None:
    kept, bench = Kept(bases=method.bases, transform=method.transform, temperature=method.temperature), tiny()
    fitted = fit(kept, RANK, 0, replace(WHOLE, connector="full"), bench.joint)

    found = answers(fitted)

    assert list(fitted.handover.bank) == list(TASKS[:-1])
    torch.testing.assert_close(logits(kept.models[0], bench), with_change(fitted.change, bench))  # the last task's
    live = []
    for task in TASKS:
        kept.on_batch(kept.models[0], task)
        live.append(logits(kept.models[0], bench))
        torch.testing.assert_close(live[-1], with_change(found[task], bench), atol=1e-5, rtol=1e-5)
    assert not torch.equal(live[0], live[1])
    assert not torch.equal(live[1], live[2])


def with_change(change: Change, bench: Tiny) -> Tensor:
    with bench.base.holding(change) as model:
        return logits(model, bench)


@pytest.mark.slow
def test_off_is_joint_lora_bit_for_bit() -> None:
    off, plain = joint(MTLLoRA(**MTLLoRA.off)), joint(LoRA())  # type: ignore[arg-type]

    assert off.losses == plain.losses
    assert all(not unequal(change, plain.change) for change in answers(off).values())


@pytest.mark.slow
def test_one_target_is_the_joint_training_of_one_task() -> None:
    bench, other = tiny(), tiny()

    alone = fit(MTLLoRA(), RANK, 0, RECIPE, bench.train)
    together = fit(MTLLoRA(), RANK, 0, RECIPE, Union({"squares": other.train}))

    assert not unequal(alone.change, together.change)
    assert not alone.handover.bank
    assert (
        alone.trainable_parameters > fit(LoRA(), RANK, 0, replace(RECIPE, updates=1), tiny().train).trainable_parameters
    )


def test_a_second_stage_is_refused() -> None:
    with pytest.raises(PluginError, match="mtl_lora learns all tasks at once"):
        fit(MTLLoRA(), RANK, 0, RECIPE, tiny().train, stage=Stage(("one", "two")))


def test_its_rows_are_given_the_task() -> None:
    assert banks(MTLLoRA)


def test_it_trains_more_bases_and_a_transform_for_every_task() -> None:
    sizes = Dimensions((LayerShape("model.layers.0.q_proj.weight", 5, 3, 0),), 7, 2, 10, tasks=4)

    assert MTLLoRA().memory(sizes) == {"bases and transforms": 16 * (2 * 2 * 5 + 4 * 3 + 4 * 2 * 2)}
    assert MTLLoRA(bases=1, transform="diagonal").memory(sizes) == {"bases and transforms": 16 * 4 * 2}
    assert MTLLoRA(**MTLLoRA.off).memory(sizes) == {}  # type: ignore[arg-type]
