"""What every method for sequences keeps in stage 3, the first whose start needs what the stage before kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.checks.runs import unequal
from bench.plugins.method import TrainMethod
from bench.plugins.registry import Registry
from bench.trial.fit import Fitted
from bench.trial.resume import Snapshots
from bench.trial.stages import Stage
from bench.trial.updates import MicroBatchSize
from tests.making.stage_runs import PLAIN, killed_and_resumed, stage_after, train_stage, train_stages

pytestmark = pytest.mark.slow

Make = Callable[[], TrainMethod]


@pytest.fixture(
    scope="module",
    params=[name for name in Registry().names("method") if Registry().method(name).made_for == "sequence"],
)
def third(request: pytest.FixtureRequest) -> tuple[Make, Stage, Fitted]:
    """How to make a method, its stage 3, and what an unbroken training of the stage leaves."""

    def make() -> TrainMethod:
        method = Registry().method(request.param)()
        assert isinstance(method, TrainMethod)
        return method

    stage = stage_after(train_stages(make, 2)[-1], make(), 3)
    return make, stage, train_stage(make(), stage)


def test_a_snapshot_does_not_change_what_the_stage_leaves(third: tuple[Make, Stage, Fitted]) -> None:
    make, stage, alone = third
    taken: dict[int, Any] = {}

    watched = train_stage(make(), stage, snapshots=Snapshots((3, PLAIN.updates), keep=taken.__setitem__))

    assert unequal(watched.change, alone.change) == []
    assert unequal(taken[PLAIN.updates], alone.change) == []
    assert unequal(taken[3], alone.change)


@pytest.mark.slow
def test_a_stage_that_was_killed_resumes_to_the_same_bits(third: tuple[Make, Stage, Fitted], tmp_path: Path) -> None:
    make, stage, unbroken = third

    resumed = killed_and_resumed(make, stage, tmp_path)

    assert resumed.losses == unbroken.losses
    assert unequal(resumed.change, unbroken.change) == []
    assert unbroken.handover.kept.keys() == resumed.handover.kept.keys()
    for name, value in unbroken.handover.kept.items():
        assert torch.equal(resumed.handover.kept[name], value)
    assert unbroken.handover.bank.keys() == resumed.handover.bank.keys()
    for task, change in unbroken.handover.bank.items():
        assert unequal(resumed.handover.bank[task], change) == []


@pytest.mark.slow
def test_a_stage_in_two_micro_batches_learns_the_same(third: tuple[Make, Stage, Fitted]) -> None:
    make, stage, whole = third

    parts = train_stage(make(), stage, micro_batch=MicroBatchSize(4))

    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)
    for name, delta in whole.change.items():
        torch.testing.assert_close(parts.change[name].tensors(), delta.tensors(), atol=1e-4, rtol=1e-3)
