"""What every method that learns all tasks at once keeps: a resumed kill and any micro-batch give the same training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.checks.runs import unequal
from bench.checks.tiny import RANK, RECIPE, tiny
from bench.plan.chains import JOINT
from bench.plugins.method import TrainMethod
from bench.plugins.registry import Registry
from bench.trial.fit import Fitted, fit
from bench.trial.updates import MicroBatchSize

pytestmark = pytest.mark.slow

WHOLE = replace(RECIPE, dropout=0.0, connector="frozen", updates=4, batch_size=7)
METHODS = [name for name in Registry().names("method") if Registry().method(name).made_for == JOINT]


def joint(name: str, size: int | None = None, **how: Any) -> Fitted:
    method = Registry().method(name)()
    assert isinstance(method, TrainMethod)
    return fit(method, RANK, 0, WHOLE, tiny().joint, micro_batch=MicroBatchSize(size), **how)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("name", METHODS)
def test_any_micro_batch_makes_the_same_update(name: str, size: int) -> None:
    whole, parts = joint(name), joint(name, size)

    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)


class _Killed(Exception):  # noqa: N818  it simulates a kill signal
    """Ends a training as a kill would."""


@pytest.mark.parametrize("name", METHODS)
def test_a_training_that_was_stopped_resumes_to_the_same_bytes(name: str, tmp_path: Path) -> None:
    def die(index: int, total: int, loss: float) -> None:
        if index == 3:
            raise _Killed

    unbroken, path = joint(name), tmp_path / "checkpoint.pt"
    with pytest.raises(_Killed):
        joint(name, checkpoint=path, every=2, progress=die)
    resumed = joint(name, checkpoint=path)

    assert unbroken.losses == resumed.losses
    assert not unequal(unbroken.change, resumed.change)
    assert unbroken.handover.bank.keys() == resumed.handover.bank.keys()
    for task, change in unbroken.handover.bank.items():
        assert not unequal(change, resumed.handover.bank[task])
