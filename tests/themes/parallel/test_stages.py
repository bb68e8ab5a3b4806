"""A later stage of a sequence of tasks is the same whether one worker trains it or two."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.checks.tiny import RECIPE
from bench.plugins.method import TrainMethod
from bench.plugins.registry import Registry
from tests.making.stage_runs import stage_after, train_stages

pytestmark = pytest.mark.slow  # two processes import torch

METHODS = [name for name in Registry().names("method") if Registry().method(name).made_for == "sequence"]
RECIPE_16 = replace(RECIPE, batch_size=16, dropout=0.0, updates=4)


def made(name: str) -> TrainMethod:
    method = Registry().method(name)()
    assert isinstance(method, TrainMethod)
    return method


@pytest.mark.parametrize("name", METHODS)
def test_two_workers_make_the_updates_of_one_in_stage_3(pair: Callable[..., list[Any]], name: str) -> None:
    before = train_stages(lambda: made(name), 2, RECIPE_16)[-1]
    stage = stage_after(before, made(name), 3)

    alone, _ = pair("learn", name, {}, RECIPE_16, False, stage)
    first, second = pair("learn", name, {}, RECIPE_16, True, stage)

    moved, together = (item["weights"].double().diff(dim=0) for item in (alone, first))
    assert float(((moved - together).norm(dim=1) / moved.norm(dim=1)).max()) < 1e-4
    assert torch.equal(first["weights"], second["weights"])
    assert first["losses"] == second["losses"]
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-5)
