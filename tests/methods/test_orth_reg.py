from __future__ import annotations

from typing import Any

import pytest
import torch

from bench import Adapter, Recipe, lora_adapters
from bench.methods import orth_reg
from bench.methods.lora import LoRA
from bench.methods.orth_reg import OrthReg, overlap, overlap_of
from bench.plugins.hyperparameters import ranges

W0 = torch.tensor([[1.0, 1.0], [0.0, 1.0]])


def adapter(weight: torch.Tensor, b: torch.Tensor, a: torch.Tensor) -> Adapter:
    return Adapter("x.q_proj.weight", weight, torch.nn.Parameter(a), torch.nn.Parameter(b), 1.0)


def test_the_overlap_is_that_of_the_worked_example() -> None:
    layer = adapter(W0, torch.tensor([[1.0], [0.0]]), torch.tensor([[1.0, 2.0]]))

    assert overlap_of(layer, side="out", mean=False).item() == 5.0
    assert overlap_of(layer, side="out", mean=True).item() == 1.25
    assert overlap_of(layer, side="in", mean=False).item() == 6.0


@pytest.mark.parametrize("side", ["out", "in"])
@pytest.mark.parametrize("entries", [1, 40, 1 << 18])
def test_value_and_gradients_equal_autograds_for_every_chunk_size(
    side: str, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(orth_reg._ENTRIES, "cpu", entries)
    torch.manual_seed(0)
    layer = adapter(torch.randn(12, 7), torch.randn(12, 3), torch.randn(3, 7))
    delta = layer.b @ layer.a
    plain = (layer.weight @ delta.T if side == "out" else layer.weight.T @ delta).abs().sum()
    expected = torch.autograd.grad(plain, (layer.b, layer.a))

    value = overlap_of(layer, side=side, mean=False)
    found = torch.autograd.grad(value, (layer.b, layer.a))

    torch.testing.assert_close(value, plain)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_an_unchanged_layer_costs_nothing_and_is_not_pushed() -> None:
    layer = adapter(W0, torch.zeros(2, 1), torch.tensor([[1.0, 2.0]]))

    value = overlap_of(layer, side="out", mean=False)
    value.backward()  # type: ignore[no-untyped-call]

    assert value.item() == 0.0
    assert torch.equal(layer.b.grad, torch.zeros(2, 1))  # type: ignore[arg-type]
    assert torch.equal(layer.a.grad, torch.zeros(1, 2))  # type: ignore[arg-type]


def test_only_q_and_v_are_regularised_unless_all_are_asked_for(tiny_llava: Any, recipe: Recipe, step_of: Any) -> None:
    model = LoRA().adapt(tiny_llava(), 2, recipe)
    layers = list(lora_adapters(model))
    with torch.no_grad():
        for layer in layers:
            layer.b.normal_()

    for modules, roles in (("qv", {"q_proj", "v_proj"}), ("all", {layer.role for layer in layers})):
        penalty = OrthReg(coefficient=1.0, reduction="sum", modules=modules).penalty(step_of(model))
        assert penalty is not None
        pushed = {
            layer.role
            for layer in layers
            if torch.autograd.grad(penalty, layer.b, retain_graph=True, allow_unused=True)[0] is not None
        }
        assert pushed == roles


@pytest.mark.slow
def test_orth_reg_switched_off_trains_as_lora(tiny_llava: Any, recipe: Recipe, train: Any) -> None:
    plain = train(LoRA(), tiny_llava(), recipe).state_dict()

    off = train(OrthReg(**OrthReg.off), tiny_llava(), recipe).state_dict()
    on = train(OrthReg(), tiny_llava(), recipe).state_dict()

    assert all(torch.equal(plain[name], off[name]) for name in plain)
    assert any(not torch.equal(plain[name], on[name]) for name in plain)


def test_the_default_acts_as_in_pegos_code() -> None:
    span = ranges(OrthReg)["coefficient"]

    assert (OrthReg().reduction, OrthReg().modules, OrthReg().coefficient) == ("sum", "qv", 1e-3)
    assert (span.low, span.high) == (1e-5, 1e-2)


@pytest.mark.parametrize(("width", "rank", "expected"), [(768, 4, 5.3e-3), (1024, 32, 1.66e-3)])
def test_the_gradient_of_the_sum_on_an_entry_of_b_is_of_the_size_that_the_docstring_states(
    width: int, rank: int, expected: float
) -> None:
    torch.manual_seed(0)
    weight, b = 0.03 * torch.randn(width, width) * (1 if rank == 4 else 2 / 3), torch.randn(width, rank)
    a = (2 * torch.rand(rank, width) - 1) / width**0.5

    _, db, _ = overlap(weight, b, a)

    assert 1e-3 * db.square().mean().sqrt().item() == pytest.approx(expected, rel=0.1)
    larger = overlap(weight, 10 * b, a)[1]
    torch.testing.assert_close(larger, db)  # whatever |B| is


def test_the_mean_is_the_sum_over_the_entries_and_the_layers(tiny_llava: Any, recipe: Recipe, step_of: Any) -> None:
    model = LoRA().adapt(tiny_llava(), 2, recipe)
    with torch.no_grad():
        for layer in lora_adapters(model):
            layer.b.normal_()

    total = OrthReg(coefficient=1.0, modules="qv").penalty(step_of(model))
    mean = OrthReg(coefficient=1.0, reduction="mean", modules="qv").penalty(step_of(model))

    assert total is not None
    assert mean is not None
    assert 1000 < (total / mean).item() < 32 * 32 * 4
