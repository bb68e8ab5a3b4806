from __future__ import annotations

from typing import Any

import pytest
import torch

from bench import Recipe, lora_adapters
from bench.methods.l2 import L2, mean_squared_distance, squared_delta, sum_of_squares
from bench.methods.lora import LoRA


def test_the_mean_squared_distance_is_a_mean_of_means() -> None:
    a0 = torch.tensor([[0.3, -0.2]])
    a, b = a0 + 0.1, torch.tensor([[0.2], [0.0]])

    value = mean_squared_distance([a, b], [a0, torch.zeros(2, 1)])

    assert value.item() == pytest.approx(0.015)


def test_the_squared_delta_is_that_of_the_product() -> None:
    a, b = torch.randn(3, 7), torch.randn(5, 3)

    assert squared_delta(torch.ones(2, 1), torch.tensor([[1.0, 2.0]]), 2.0).item() == 40.0
    torch.testing.assert_close(squared_delta(b, a, 0.5), (0.5 * b @ a).square().sum())


def test_the_default_penalty_is_the_sum_of_squares_of_all_factors(
    tiny_llava: Any, recipe: Recipe, step_of: Any
) -> None:
    model = LoRA().adapt(tiny_llava(), 2, recipe)
    factors = [factor for adapter in lora_adapters(model) for factor in (adapter.a, adapter.b)]

    penalty = L2(coefficient=0.5).penalty(step_of(model))

    assert penalty is not None
    assert penalty.item() == pytest.approx(0.5 * sum((f.double() ** 2).sum().item() for f in factors))
    assert sum_of_squares(factors).requires_grad


def test_the_distance_from_the_start_is_zero_at_first_and_grows(tiny_llava: Any, recipe: Recipe, step_of: Any) -> None:
    model = LoRA().adapt(tiny_llava(), 2, recipe)
    method = L2(coefficient=1.0, form="mse_from_init")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    first = method.penalty(step_of(model))
    with torch.no_grad():
        for parameter in trained:
            parameter += 0.1
    second = method.penalty(step_of(model, index=1))

    assert first is not None
    assert second is not None
    assert first.item() == 0.0
    assert second.item() == pytest.approx(0.01)
    assert len(method.initial_) == len(trained)
    assert any("multi_modal_projector" in name for name in method.initial_)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["sumsq_AB", "mse_from_init", "delta_fro2"])
def test_every_form_changes_the_training_and_none_does_when_off(
    form: str, tiny_llava: Any, recipe: Recipe, train: Any
) -> None:
    plain = train(LoRA(), tiny_llava(), recipe).state_dict()

    on = train(L2(coefficient=0.1, form=form), tiny_llava(), recipe).state_dict()
    off = train(L2(**{**L2.off, "form": form}), tiny_llava(), recipe).state_dict()

    assert all(torch.equal(plain[name], off[name]) for name in plain)
    assert any(not torch.equal(plain[name], on[name]) for name in plain)
