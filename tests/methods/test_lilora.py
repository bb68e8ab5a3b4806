from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import Change, Dimensions, LayerShape, LowRank, PluginError, Recipe, lora_adapters
from bench.checks.runs import Watched, logits, unequal
from bench.checks.tiny import RANK, tiny
from bench.methods.lilora import Branch, LiLoRA, blended, likeness
from bench.methods.lora import LoRA
from bench.model.families import block_of
from bench.model.family import role_of
from bench.plan.cell_trials import cell_trial
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from bench.trial.fit import Fitted
from bench.trial.runner import TrialRunner
from bench.trial.stages import FIRST, Stage
from bench.values.job import Job
from bench.values.trial import Trial
from tests.making.hand_loop import train_by_hand
from tests.making.stage_runs import PLAIN, killed_and_resumed, stage_after, train_stage, train_stages

FROZEN = replace(PLAIN, connector="frozen")
FFN = {"gate_proj", "up_proj", "down_proj"}

BASIS = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
BRANCH = (torch.tensor([[1.0], [-1.0]], dtype=torch.float64), torch.tensor([[2.0, 1.0]], dtype=torch.float64))
EARLIER = (torch.tensor([[1.0], [0.0]], dtype=torch.float64), torch.tensor([[2.0, 0.0]], dtype=torch.float64))


@dataclass(kw_only=True)
class Open(LiLoRA):  # type: ignore[misc]
    """LiLoRA whose gates give everything to B0, and stay so."""

    def adapt(self, model: nn.Module, rank: int, recipe: Recipe) -> nn.Module:
        wrapped: nn.Module = super().adapt(model, rank, recipe)
        for branch in branches(wrapped):
            branch.gate.data.fill_(40.0)  # of which float32 has the sigmoid 1
            branch.gate.requires_grad_(False)
        return wrapped


def branches(model: nn.Module) -> list[Any]:
    """Return the live branches, in the order of the layers."""
    return [module for module in model.modules() if isinstance(module, Branch)]


def kept_branch(kept: Any, name: str, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the branch of a stage, counted from 0, that was kept for a layer."""
    b, a, gate = (kept[f"{name}/{number}/{part}"] for part in ("b", "a", "gate"))
    return b, a, gate


def test_a_worked_example_of_the_change() -> None:
    a = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], dtype=torch.float64)

    b = blended(BASIS, *BRANCH, torch.tensor(0.4, dtype=torch.float64))

    expected = torch.tensor([[1.40131234, 0.40131234], [-0.80262468, 0.79606298]], dtype=torch.float64)
    torch.testing.assert_close(b, expected, atol=1e-8, rtol=0)
    change = [[2.80262468, 0.80262468, 3.60524936], [-1.60524936, 1.59212596, -0.01312340]]
    torch.testing.assert_close(2 * b @ a, torch.tensor(change, dtype=torch.float64), atol=1e-8, rtol=0)


def test_a_worked_example_of_the_penalty() -> None:
    alike = likeness(BRANCH, EARLIER)

    drift = (1 - alike) * (BASIS - torch.eye(2)).square().sum()

    assert alike.item() == pytest.approx(0.63245553, abs=1e-8)
    assert drift.item() == pytest.approx(0.36754447, abs=1e-8)
    whole = torch.cosine_similarity((BRANCH[0] @ BRANCH[1]).flatten(), (EARLIER[0] @ EARLIER[1]).flatten(), dim=0)
    assert alike.item() == pytest.approx(whole.item())


def test_a_branch_of_zero_is_like_no_other_and_is_not_pushed() -> None:
    b, a = torch.zeros(2, 1, requires_grad=True), torch.tensor([[2.0, 1.0]])

    alike = likeness((b, a), (torch.ones(2, 1), torch.ones(1, 2)))
    alike.backward()  # type: ignore[no-untyped-call]

    assert alike.item() == 0.0
    assert b.grad is not None
    assert torch.equal(b.grad, torch.zeros(2, 1))


@pytest.mark.slow
@pytest.mark.parametrize("connector", ["full", "lora"])
def test_open_gates_without_penalty_are_loras_chain_bit_for_bit(connector: Any) -> None:
    recipe = replace(PLAIN, connector=connector)

    plain, opened = (train_stages(make, 2, recipe) for make in (LoRA, lambda: Open(lam=0.0)))

    for one, other in zip(plain, opened, strict=True):
        assert not unequal(one.change, other.change)
        assert one.losses == other.losses


def literal(second: Fitted, method: LiLoRA) -> dict[str, tuple[Tensor, Tensor]]:
    """Train the third stage from the equations; return the effective B and A of each layer."""
    bench, stage = tiny(), stage_after(second, method, 3)
    torch.manual_seed(stage.seed(0))
    model = method.adapt(bench.base.tree(), RANK, FROZEN)  # for the random start of the branches
    layers: dict[str, tuple[Tensor, ...]] = {}
    before: dict[str, tuple[Tensor, Tensor]] = {}
    for adapter, branch in zip(lora_adapters(model), branches(model), strict=True):
        b, a, _ = kept_branch(stage.kept, adapter.name, 1)
        basis = stage.kept[f"{adapter.name}/b0"]
        before[adapter.name] = (basis, b @ a)
        adapter.a.data.copy_(second.change[adapter.name].tensors()["a"])
        layers[adapter.name] = (adapter.a, basis.clone().requires_grad_(), branch.b, branch.a, branch.gate)

    def effective(name: str) -> Tensor:
        _, basis, b, a, gate = layers[name]
        share = 1 / (1 + torch.exp(-gate))
        return share * basis + (1 - share) * b @ a

    def effect(name: str, x: Tensor, ids: Tensor) -> Tensor:
        return 2.0 * x @ layers[name][0].T @ effective(name).T

    def penalty() -> Tensor:
        terms = []
        for name, (_, basis, b, a, _) in layers.items():
            own, (origin, last) = b @ a, before[name]
            lengths = own.norm() * last.norm()
            alike = (own * last).sum() / lengths if lengths > 0 else torch.zeros(())
            alike = alike.detach() if method.cosine == "frozen" else alike
            terms.append((1 - alike) * (basis - origin).square().sum())
        total = torch.stack(terms)
        value: Tensor = method.lam * (total.sum() if method.reduction == "sum" else total.mean())
        return value

    train_by_hand(bench, stage, FROZEN, layers, effect, penalty)
    return {name: (effective(name).detach(), tensors[0].detach()) for name, tensors in layers.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"lam": 20.0}, {"lam": 1.0, "reduction": "sum", "cosine": "frozen"}, {"lam": 0.0}]
)
def test_the_third_stage_is_that_of_the_equations(settings: Any) -> None:
    _, second, third = train_stages(lambda: LiLoRA(**settings), 3, FROZEN)

    found = literal(second, LiLoRA(**settings))

    kept = third.handover.kept
    for name, (b, a) in found.items():
        delta = third.change[name]
        assert isinstance(delta, LowRank)
        torch.testing.assert_close(delta.b, b, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(delta.a, a, rtol=1e-3, atol=1e-5)
        for number, task in enumerate(third.handover.bank):
            own = blended(kept[f"{name}/b0"], *kept_branch(kept, name, number))
            torch.testing.assert_close(third.handover.bank[task][name].tensors()["b"], own)
        assert len({float(kept_branch(kept, name, number)[2]) for number in range(3)}) == 3


def answered_live(watched: Watched, bench: Any, number: int, kept: Any) -> Tensor:
    """Return the live model's outputs with the branches of an earlier stage."""
    names = [adapter.name for adapter in lora_adapters(watched.model)]
    for name, branch in zip(names, branches(watched.model), strict=True):
        for parameter, value in zip((branch.b, branch.a, branch.gate), kept_branch(kept, name, number), strict=True):
            parameter.data.copy_(value)
    return logits(watched.model, bench)


@pytest.mark.slow
@pytest.mark.parametrize("connector", ["full", "lora"])
@pytest.mark.parametrize("modules", ["all", "ffn"])
def test_the_model_with_each_tasks_branch_equals_the_change_of_the_task(connector: Any, modules: str) -> None:
    def make() -> LiLoRA:
        return LiLoRA(modules=modules)

    recipe = replace(PLAIN, connector=connector)
    first, second = train_stages(make, 2, recipe)
    bench, watched = tiny(), Watched(inner=make())

    third = train_stage(watched, stage_after(second, watched.inner, 3), bench, recipe=recipe)

    live = {"task3": logits(watched.model, bench)}
    live |= {f"task{n + 1}": answered_live(watched, bench, n, third.handover.kept) for n in range(2)}
    changes: dict[str, Change] = {"task3": third.change, **third.handover.bank}
    assert changes.keys() == live.keys()
    for task, wanted in live.items():
        with bench.base.holding(changes[task]) as merged:
            torch.testing.assert_close(logits(merged, bench), wanted, atol=1e-5, rtol=1e-5)
    assert not torch.equal(live["task1"], live["task3"])
    for name in first.handover.kept:
        if "/0/" in name:
            assert torch.equal(third.handover.kept[name], first.handover.kept[name])


@pytest.mark.slow
@pytest.mark.parametrize(("basis", "share_a", "drifts"), [("frozen", "frozen", False), ("frozen", "train", True)])
def test_an_earlier_task_keeps_its_change_if_what_tasks_share_is_frozen(basis: str, share_a: str, drifts: bool) -> None:
    def make() -> LiLoRA:
        return LiLoRA(basis=basis, share_a=share_a)

    first, second = train_stages(make, 2, FROZEN)

    moved = unequal(second.handover.bank["task1"], first.change)
    assert bool(moved) == drifts
    for name in first.change:
        key = f"{name}/b0"
        assert torch.equal(second.handover.kept[key], first.handover.kept[key])
        assert unequal(Change({name: first.change[name]}), Change({name: second.change[name]}))


@pytest.mark.slow
def test_ffn_adapts_the_feed_forward_layers_alone() -> None:
    fitted = train_stage(LiLoRA(modules="ffn"), FIRST)

    assert {role_of(name) for name, delta in fitted.change.items() if isinstance(delta, LowRank)} == FFN
    assert set(LiLoRA(modules="ffn").roles()) == FFN


@pytest.mark.parametrize(("share", "sub_rank"), [(0.5, 1), (1.0, 2), (0.01, 1)])
def test_a_branch_has_its_share_of_the_ranks(share: float, sub_rank: int) -> None:
    model = LiLoRA(sub_rank_share=share).adapt(tiny().base.tree(), RANK, PLAIN)

    assert {branch.b.shape[1] for branch in branches(model)} == {sub_rank}
    assert {math.prod(branch.gate.shape) for branch in branches(model)} == {1}


@pytest.mark.slow
def test_the_declared_memory_is_what_a_second_stage_holds() -> None:
    method = LiLoRA()
    train_stage(method, stage_after(train_stage(LiLoRA(), FIRST), method, 2))
    held = [tensor for layer in method._layers.values() for tensor in layer.origin]
    weights = {name: value for name, value in tiny().base.pristine.items() if name in method._layers}
    shapes = tuple(LayerShape(name, len(weight), weight.shape[1], block_of(name)) for name, weight in weights.items())
    dimensions = Dimensions(shapes, 0, RANK, 10)

    memory = method.memory(dimensions)

    assert memory["before the stage"] == 4 * sum(tensor.numel() for tensor in held)
    assert memory["distance of B0"] == 4 * sum(layer.basis.numel() for layer in method._layers.values())
    assert LiLoRA(lam=0.0).memory(dimensions) == LiLoRA(basis="frozen").memory(dimensions) == {}


@pytest.mark.slow
def test_stage_1_has_no_penalty_and_no_bank_and_is_the_ordinary_training() -> None:
    plain, alone = train_stage(LiLoRA(lam=0.0), FIRST), train_stage(LiLoRA(lam=50.0), Stage(("task1",)))

    assert not unequal(plain.change, alone.change)
    assert plain.losses == alone.losses
    assert not alone.handover.bank


@pytest.mark.slow
def test_a_second_stage_that_was_stopped_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    def make() -> LiLoRA:
        return LiLoRA(lam=20.0)

    stage = stage_after(train_stage(make(), FIRST), make(), 2)
    unbroken = train_stage(make(), stage)

    resumed = killed_and_resumed(make, stage, tmp_path)

    assert not unequal(resumed.change, unbroken.change)
    assert not unequal(resumed.handover.bank["task1"], unbroken.handover.bank["task1"])
    assert resumed.losses == unbroken.losses
    assert all(torch.equal(value, resumed.handover.kept[name]) for name, value in unbroken.handover.kept.items())


@pytest.mark.slow
def test_a_second_stage_does_not_depend_on_the_micro_batches() -> None:
    stage = stage_after(train_stage(LiLoRA(), FIRST), LiLoRA(), 2)
    gradients = []
    for size in (None, 2):
        watched = Watched(inner=LiLoRA(lam=20.0), shake=0.02)
        train_stage(watched, stage, recipe=replace(PLAIN, updates=3, micro_batch_size=size))
        gradients.append(watched.gradients)

    for whole, parts in zip(*gradients, strict=True):
        for name, gradient in whole.items():
            torch.testing.assert_close(gradient, parts[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_stage_of_another_method_is_refused_by_name() -> None:
    stage = stage_after(train_stage(LoRA(), FIRST), LiLoRA(), 2)

    with pytest.raises(PluginError, match=r"kept no B0 of .*q_proj.*lilora continues only its own stages"):
        train_stage(LiLoRA(), stage)


@pytest.mark.slow
def test_a_lane_stores_what_a_sequence_needs(tiny_suite: Suite, squares: Tasks, tmp_path: Path) -> None:
    store, tasks = Store(tmp_path / "runs"), ("new_squares", "old_squares")
    store.prepare()
    request = Request(tiny_suite, ("lilora",), (RANK,), tasks, (), replace(FROZEN, updates=2), tasks=squares)
    lane, trials = TrialRunner(store, tiny_suite.folder, squares), list[Trial]()
    for task in tasks:
        alone = cell_trial(request, "lilora", RANK, task, 0)
        trials.append(replace(alone, parent=trials[-1] if trials else None))

    records = [lane.run(Job(trial, ())) for trial in trials]

    assert [record.error for record in records] == [None, None]
    first, second = (store.change_of(trial) for trial in trials)
    assert trials[0] == cell_trial(request, "lilora", RANK, tasks[0], 0)
    assert second.bank().keys() == {tasks[0]}
    kept = second.kept()
    for name, delta in second.bank()[tasks[0]].items():
        assert torch.equal(kept[f"{name}/0/b"], first.kept()[f"{name}/0/b"])
        basis = kept[f"{name}/b0"]
        torch.testing.assert_close(delta.tensors()["b"], blended(basis, *kept_branch(kept, name, 0)))
