"""What workers do together, and how they end together."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.trial.workers import ALONE, Failure

pytestmark = pytest.mark.slow  # two processes import torch

Job = Callable[..., list[Any]]


def test_tensors_of_several_kinds_are_added_up_in_place(pair: Job) -> None:
    one = [torch.tensor([1.0, 2.0]), torch.tensor([[3]]), torch.tensor([1.0, 0.5], dtype=torch.bfloat16)]
    other = [torch.tensor([10.0, 20.0]), torch.tensor([[30]]), torch.tensor([2.0**-9, 0.5], dtype=torch.bfloat16)]

    for summed in pair("summed", [one, other]):
        assert summed[0].tolist() == [11.0, 22.0]
        assert summed[1].tolist() == [[33]]
        assert summed[2].tolist() == [1.0, 1.0]  # 1 + 2^-9 is no bfloat16: rounded once, from float32
        assert summed[2].dtype == torch.bfloat16


def test_everyone_hears_everyone_and_the_first(pair: Job) -> None:
    assert pair("gathered", "worker ") == [(["worker 0", "worker 1"], "worker 0")] * 2


def test_one_worker_alone_is_a_group_too() -> None:
    failure = Failure("reason", "")
    tensor = torch.ones(2)

    ALONE.sum([tensor])

    assert tensor.tolist() == [1.0, 1.0]
    assert ALONE.gather(3) == [3]
    assert ALONE.first(lambda: 4) == 4
    assert ALONE.settle(failure) is failure
    assert ALONE.settle(None) is None


@pytest.mark.parametrize("act", ["sum", "gather", "first", "nothing"])
@pytest.mark.parametrize("rank", [0, 1])
def test_where_one_fails_the_other_gives_up_at_its_next_act_with_the_same_reason(
    pair: Job, act: str, rank: int
) -> None:
    reasons = ["no more disk" if place == rank else None for place in range(2)]

    ends = pair("told", reasons, act)

    assert [end for _, end in ends] == ["no more disk"] * 2
    assert ends[1 - rank][0] == ("" if act == "nothing" else "TrialError: no more disk")
    assert pair("told", [None, None], act) == [("", "")] * 2


def test_where_both_fail_the_first_workers_reason_counts(pair: Job) -> None:
    assert [end for _, end in pair("told", ["one", "other"], "sum")] == ["one"] * 2


def test_workers_that_would_add_up_different_things_are_told_so_instead_of_hanging(pair: Job) -> None:
    for raised, ended in pair("told", [None, None], "apart"):
        assert "out of step" in ended
        assert raised == f"TrialError: {ended}"


def test_what_cannot_be_sent_is_a_failure_of_its_worker(pair: Job) -> None:
    first, second = pair("told", [None, None], "unsendable")

    assert "pickle" in second[0]
    assert first[0].startswith("TrialError")
