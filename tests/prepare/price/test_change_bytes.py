"""The bytes of a change that a method declares are those that its training leaves."""

from dataclasses import replace

import pytest

from bench.checks.tiny import RANK, RECIPE, tiny
from bench.model.families import block_of
from bench.plugins.method import Dimensions, LayerShape, TrainMethod
from bench.plugins.registry import Registry
from bench.prepare.price.memory import change_bytes
from bench.recipe import Connector
from bench.trial.fit import fit

TRAINING = [name for name in Registry().names("method") if issubclass(Registry().method(name), TrainMethod)]


@pytest.mark.parametrize("connector", ["full", "lora"])
@pytest.mark.parametrize("name", TRAINING)
def test_the_declared_bytes_are_those_of_the_change(name: str, connector: Connector) -> None:
    bench, recipe = tiny(), replace(RECIPE, updates=1, connector=connector)
    method = Registry().method(name)()
    assert isinstance(method, TrainMethod)

    fitted = fit(method, RANK, 0, recipe, bench.lessons)

    weights = bench.base.pristine
    adapted = [item for item, delta in fitted.change.items() if delta.kind != "replaced"]
    shapes = tuple(
        LayerShape(item, rows=weights[item].shape[0], columns=weights[item].shape[1], block=block_of(item))
        for item in adapted
    )
    tuned = sum(weights[item].numel() for item in fitted.change if item not in adapted)
    sizes = Dimensions(shapes, tuned, RANK, 10)
    assert change_bytes(method, None, sizes, fitted.trainable_parameters) == fitted.change.bytes
