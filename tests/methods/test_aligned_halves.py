from __future__ import annotations

import pytest
import torch

from bench.methods.aligned_halves import perturbation, second_half


@pytest.mark.parametrize(("form", "expected"), [("ascent_normalised", 0.58), ("descent", 0.72)])
def test_a_worked_example_of_the_two_halves(form: str, expected: float) -> None:
    w = torch.tensor(0.5, requires_grad=True)
    (slope,) = torch.autograd.grad(2 * (w + 1) ** 2, w)

    at = w.detach() + perturbation([slope], 0.1, form)[0]
    (gradient,) = torch.autograd.grad((at.requires_grad_() - 1) ** 2 / 2, at)

    assert (w - 0.2 * gradient).item() == pytest.approx(expected)


def test_a_perturbation_has_the_length_rho_over_all_tensors_and_none_if_the_gradient_is_zero() -> None:
    moves = perturbation([torch.tensor([3.0]), torch.tensor([[4.0]])], 0.1, "ascent_normalised")

    assert [move.item() for move in moves] == [pytest.approx(0.06), pytest.approx(0.08)]
    assert perturbation([torch.zeros(2)], 0.1, "ascent_normalised")[0].tolist() == [0.0, 0.0]


def test_the_half_of_an_example_is_that_of_its_text() -> None:
    ids = torch.randint(0, 90000, (64, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[:, 5:] = 0

    halves = second_half(ids, mask, 1)

    ids[:, 5:] = 9  # padding
    assert torch.equal(second_half(ids, mask, 1), halves)
    assert torch.equal(second_half(ids[10:20], mask[10:20], 1), halves[10:20])
    assert torch.equal(second_half(ids[:, :5], mask[:, :5], 1), halves)
    assert not torch.equal(second_half(ids, mask, 2), halves)
    assert 16 < int(halves.sum()) < 48
