from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import LowRank
from bench.checks.runs import Watched, logits, unequal
from bench.checks.tiny import RANK, tiny
from bench.errors import PluginError
from bench.methods.c_lora import CLoRA, Route, Twice, old_basis, overlap
from bench.methods.dora import DoRA
from bench.methods.lora import LoRA
from bench.trial.stages import FIRST, Stage
from tests.making.stage_runs import PLAIN, stage_after, train_stage, train_stages
from tests.making.stages_by_hand import connector_of, drawn, train_by_hand

B = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
A = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
OLD = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
NEW = torch.tensor([[0.5, 1.0], [0.0, 2.0]])


@pytest.fixture(scope="module")
def third() -> Stage:
    """Stage 3, the first whose start needs what the stage before kept."""
    return stage_after(train_stages(CLoRA, 2)[-1], CLoRA(), 3)


def test_a_worked_example_of_the_change_and_its_gradients() -> None:
    route = Route(OLD, torch.eye(2))
    b, a = (nn.Parameter(value.clone()) for value in (B, A))
    with torch.no_grad():
        route.new.copy_(NEW)

    delta = route(b) @ Twice()(a)
    delta.backward(torch.tensor([[1.0, 0.0], [2.0, 1.0]]))

    assert delta.tolist() == [[1.5, 4.0], [1.5, 6.0]]
    gradients = [value.grad for value in (b, a, route.new)]
    assert [value.tolist() for value in gradients if value is not None] == [
        [[0.5, 0.0], [3.0, 2.0]],
        [[1.5, 0.5], [7.0, 3.0]],
        [[5.0, 1.0], [4.0, 1.0]],
    ]


@pytest.mark.parametrize("energy", [0.9, 1.0])
def test_a_worked_example_of_the_penalty(energy: float) -> None:
    assert overlap(old_basis(OLD, B, "columns", energy), NEW).item() == pytest.approx(1.25)


def test_the_columns_are_cut_by_the_energy_that_passes_through_them() -> None:
    old, b = torch.eye(3), torch.diag(torch.tensor([1.0, 3.0, 2.0]))  # squares 1, 9 and 4 of 14

    bases = {energy: old_basis(old, b, "columns", energy) for energy in (0.0, 0.6, 0.7, 0.9, 0.95, 1.0)}

    assert {energy: basis.shape[1] for energy, basis in bases.items()} == {
        0.0: 0,
        0.6: 1,
        0.7: 2,
        0.9: 2,
        0.95: 3,
        1: 3,
    }
    torch.testing.assert_close(bases[0.6] @ bases[0.6].T, torch.diag(torch.tensor([0.0, 1.0, 0.0])))
    torch.testing.assert_close(bases[0.9] @ bases[0.9].T, torch.diag(torch.tensor([0.0, 1.0, 1.0])))


def test_the_cut_basis_lies_in_the_columns_of_the_old_matrix_whatever_b_is() -> None:
    generator = torch.Generator().manual_seed(0)
    old = torch.randn(4, 2, generator=generator) @ torch.randn(2, 4, generator=generator)
    b = torch.randn(6, 4, generator=generator)

    basis = old_basis(old, b, "columns", 1 - 1e-9)

    uncut = old_basis(old, b, "columns", 1.0)
    assert basis.shape == (4, 2)
    torch.testing.assert_close(basis @ basis.T, uncut @ uncut.T)
    torch.testing.assert_close(basis.T @ basis, torch.eye(2))


def test_a_b_of_zeros_protects_nothing_and_the_matrix_is_scaled_to_1() -> None:
    assert old_basis(torch.eye(2), torch.zeros(3, 2), "columns", 0.9).shape == (2, 0)
    assert old_basis(3 * NEW, B, "matrix", 0.9).norm().item() == pytest.approx(1.0)
    assert overlap(old_basis(OLD, B, "matrix", 0.9), NEW).item() == pytest.approx(1.25)
    assert old_basis(torch.zeros(2, 2), B, "matrix", 0.9).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"lam": 0.0}, {"factors": "frozen", "energy": 1.0}, {"basis": "matrix"}])
@pytest.mark.parametrize("connector", ["full", "lora"])
def test_stage_1_is_lora_bit_for_bit_and_keeps_nothing(settings: dict[str, Any], connector: Any) -> None:
    recipe = replace(PLAIN, connector=connector, dropout=0.1)
    plain, ours = (train_stage(method, FIRST, recipe=recipe) for method in (LoRA(), CLoRA(**settings)))

    assert unequal(ours.change, plain.change) == []
    assert ours.losses == plain.losses
    assert ours.handover.kept == {}


@dataclass
class Joined:
    """Delta W = scale * B (R_old + R_new) A, and the penalty pulls R_new by 2 lam / layers * Q_old Q_old^T R_new."""

    b: Tensor
    a: Tensor
    old: Tensor
    new: Tensor
    scale: float
    pull: Tensor

    def trained(self) -> Sequence[Tensor]:
        return self.b, self.a, self.new

    def delta(self) -> Tensor:
        return self.scale * self.b @ (self.old + self.new) @ self.a

    def gradients(self, g: Tensor) -> Sequence[Tensor]:
        task = self.scale * self.b.T @ g @ self.a.T
        db, da = self.scale * g @ self.a.T @ self.new.T, self.scale * self.new.T @ self.b.T @ g
        return db, da, task + self.pull @ self.new


def projector(b: Tensor, old: Tensor, energy: float) -> Tensor:
    """Return the projector on R_old V for the eigenvectors V of (B R_old)^T B R_old that hold the energy."""
    values, vectors = torch.linalg.eigh((b @ old).double().T @ (b @ old).double())
    order = values.argsort(descending=True)
    count = 1
    while values[order[:count]].sum() < energy * values.sum():
        count += 1
    images = old.double() @ vectors[:, order[:count]]
    projected: Tensor = images @ torch.linalg.pinv(images)
    return projected.float()


@pytest.mark.slow
def test_three_stages_are_those_of_the_equations() -> None:
    lam, energy = 5.0, 0.8
    fitted = train_stages(lambda: CLoRA(lam=lam, energy=energy), 3)
    bench = tiny()
    plain, connector = drawn(bench, PLAIN), connector_of(bench)
    train_by_hand(bench, FIRST, PLAIN, plain, connector)
    blank = torch.zeros(RANK, RANK)
    layers = {name: Joined(each.b, each.a, blank, torch.eye(RANK), each.scale, blank) for name, each in plain.items()}

    ranks = set()
    for number in (2, 3):
        for layer in layers.values():
            layer.old, layer.new = layer.old + layer.new, torch.zeros(RANK, RANK)
            protected = projector(layer.b, layer.old, energy)
            ranks.add(round(protected.trace().item()))
            layer.pull = 2 * lam / len(layers) * protected
        train_by_hand(bench, Stage(("",) * number), PLAIN, layers, connector)
        change, kept = fitted[number - 1].change, fitted[number - 1].handover.kept
        assert set(change) == {*layers, *connector}
        for name, layer in layers.items():
            delta = {"b": layer.b @ (layer.old + layer.new), "a": layer.a}
            torch.testing.assert_close(change[name].tensors(), delta, atol=1e-4, rtol=1e-3)
            torch.testing.assert_close(kept[f"{name}.b"].detach(), layer.b, atol=1e-4, rtol=1e-3)
            torch.testing.assert_close(kept[f"{name}.r"].detach(), layer.old + layer.new, atol=1e-4, rtol=1e-3)
        for name, value in connector.items():
            torch.testing.assert_close(change[name].tensors()["value"], value, atol=1e-4, rtol=1e-3)
    assert ranks == {1, 2}  # some layers protect one direction, and others both


@pytest.mark.slow
def test_the_penalty_and_its_basis_act() -> None:
    second = stage_after(train_stages(CLoRA, 1)[-1], CLoRA(), 2)
    kinds = [CLoRA(), CLoRA(lam=0.0), CLoRA(energy=0.3), CLoRA(energy=1.0), CLoRA(basis="matrix")]

    changes = [train_stage(method, second).change for method in kinds]

    for place, change in enumerate(changes):
        assert all(unequal(change, other) for other in changes[:place])


@pytest.mark.slow
def test_frozen_factors_stand_still_and_only_the_matrix_learns() -> None:
    second = stage_after(train_stages(CLoRA, 1)[-1], CLoRA(), 2)

    fitted = train_stage(CLoRA(factors="frozen"), second, recipe=replace(PLAIN, connector="frozen"))

    layers = {name: delta for name, delta in fitted.change.items() if isinstance(delta, LowRank)}
    assert fitted.trainable_parameters == RANK**2 * len(layers)
    for name, delta in layers.items():
        before = second.previous[name]
        assert isinstance(before, LowRank)
        assert torch.equal(delta.a, before.a)
        assert torch.equal(fitted.handover.kept[f"{name}.b"], before.b)
        assert not torch.equal(delta.b, before.b)


@pytest.mark.slow
@pytest.mark.parametrize("connector", ["full", "lora", "frozen"])
def test_what_a_stage_leaves_has_loras_rank_and_is_the_live_model(connector: Any) -> None:
    recipe = replace(PLAIN, connector=connector)
    bench, watched = tiny(), Watched(inner=CLoRA())
    stage = stage_after(train_stages(CLoRA, 2, recipe)[-1], CLoRA(), 3)

    fitted = train_stage(watched, stage, bench, recipe=recipe)

    wanted = logits(watched.model, bench)
    with bench.base.holding(fitted.change) as model:
        torch.testing.assert_close(logits(model, bench), wanted, atol=1e-5, rtol=1e-5)
    factors = [delta for delta in fitted.change.values() if isinstance(delta, LowRank)]
    assert {(delta.b.shape[1], delta.a.shape[0]) for delta in factors} == {(RANK, RANK)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`:FutureWarning")
def test_gradient_checkpointing_learns_the_same(third: Stage) -> None:
    whole, spared = (train_stage(CLoRA(), third, plain_blocks=plain) for plain in (None, 0))

    assert unequal(spared.change, whole.change) == []


@pytest.mark.slow
def test_a_change_that_cannot_be_continued_is_refused() -> None:
    with pytest.raises(PluginError, match="left a decomposed change"):
        train_stage(CLoRA(), stage_after(train_stage(DoRA(), FIRST), CLoRA(), 2))
