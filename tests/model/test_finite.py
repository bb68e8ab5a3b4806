"""What is infinite or NaN is found, in every precision."""

from __future__ import annotations

import pytest
import torch

from bench.model.change import Change, LowRank, Sparse
from bench.model.finite import broken_delta, first_not_finite, is_finite


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_entry_is_enough(dtype: torch.dtype, value: float) -> None:
    tensor = torch.ones(3, 5, dtype=dtype)
    assert is_finite(tensor)

    tensor[2, 4] = value

    assert not is_finite(tensor)


def test_whole_numbers_and_empty_tensors_are_finite() -> None:
    assert is_finite(torch.zeros(0))
    assert is_finite(torch.arange(3))


def test_the_first_broken_tensor_is_named() -> None:
    broken = torch.tensor([float("nan")])

    assert first_not_finite([("a", torch.ones(1)), ("b", broken), ("c", broken)]) == "b"
    assert first_not_finite([("a", torch.ones(1))]) is None


def test_any_tensor_of_a_delta_may_break_a_change() -> None:
    good = LowRank(torch.ones(2, 1), torch.ones(1, 2), 1.0)
    bad = Sparse.of(torch.tensor([[float("inf"), 0.0]]), torch.tensor([[True, False]]))

    assert broken_delta(Change({"good.weight": good})) is None
    assert broken_delta(Change({"good.weight": good, "bad.weight": bad})) == "bad.weight"
