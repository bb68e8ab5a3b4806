"""The main memory of an edit's captures is what a capture holds."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from bench.checks.tiny import RECIPE
from bench.model.adapters import adapted_layers
from bench.plugins.method import Dimensions, LayerShape
from bench.prepare.price.captured import captured_bytes
from bench.trial.capture import Capture
from bench.trial.stages import calibration
from bench.values.recipe import Recipe
from tests.making.deep import deep, random_change


@pytest.mark.parametrize("adapt", ["all", "q_v", "down_proj+q_proj"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_bytes_are_those_that_a_capture_holds(adapt: str, dtype: Any) -> None:
    bench, recipe = deep(2, dtype), replace(RECIPE, adapt=adapt, train_dtype=dtype)
    layers = adapted_layers(bench.base.model, recipe)
    capture = Capture(bench.base, layers, partial(calibration, bench.train, recipe))

    inputs = capture(1, random_change(bench.base), 1)  # one example has no padding

    door = capture._door
    assert door is not None
    held = {id(value): value.nbytes for value in inputs.values()}
    tokens = len(next(iter(inputs.values())))
    assert priced(bench.base, layers, recipe, tokens) == {
        "inputs of a block": sum(held.values()),
        "states at its door": sum(states.nbytes for states in door.states),
    }


def priced(base: Any, layers: Any, recipe: Recipe, tokens: int) -> dict[str, int]:
    shapes = tuple(
        LayerShape(name, layer.stored.shape[0], layer.stored.shape[1], layer.block) for name, layer in layers.items()
    )
    blueprint: Any = SimpleNamespace(config=base.model.config)
    return captured_bytes(1, blueprint, recipe, Dimensions(shapes, 0, 2, tokens))
