"""The bytes that a method declares, of a change and of what later stages need, are those that its training leaves."""

from dataclasses import replace

import pytest

from bench.checks.tiny import RANK, RECIPE, Tiny, tiny
from bench.model.change import Change
from bench.model.families import block_of
from bench.plugins.method import Dimensions, LayerShape, TrainMethod
from bench.plugins.registry import Registry
from bench.prepare.price.memory import change_bytes
from bench.trial.fit import Fitted, fit
from bench.values.recipe import Connector
from tests.making.stage_runs import PLAIN, train_stages

TRAINING = [name for name in Registry().names("method") if issubclass(Registry().method(name), TrainMethod)]
JOINT = [name for name in TRAINING if Registry().method(name).made_for == "joint"]
STAGES = [name for name in TRAINING if Registry().method(name).merges and name not in JOINT]


@pytest.mark.parametrize("connector", ["full", "lora"])
@pytest.mark.parametrize("name", TRAINING)
def test_the_declared_bytes_are_those_of_the_change(name: str, connector: Connector) -> None:
    bench, recipe = tiny(), replace(RECIPE, updates=1, connector=connector)
    method = made(name)

    fitted = fit(method, RANK, 0, recipe, bench.lessons)

    sizes = dimensions(fitted.change, bench)
    assert change_bytes(method, None, sizes, fitted.trainable_parameters) == fitted.change.bytes


@pytest.mark.slow
@pytest.mark.parametrize("connector", ["full", "lora"])
@pytest.mark.parametrize("name", STAGES)
def test_the_declared_bytes_are_those_of_what_a_stage_leaves(name: str, connector: Connector) -> None:
    recipe = replace(PLAIN, updates=1, connector=connector)

    stages = train_stages(lambda: made(name), 3, recipe)

    for number, fitted in enumerate(stages, 1):
        assert made(name).left_bytes(dimensions(fitted.change, tiny()), number) == left(fitted), number


@pytest.mark.parametrize("name", JOINT)
def test_the_declared_bytes_are_those_of_what_a_joint_training_leaves(name: str) -> None:
    bench, recipe = tiny(), replace(RECIPE, updates=1)

    fitted = fit(made(name), RANK, 0, recipe, bench.joint)

    sizes = replace(dimensions(fitted.change, bench), tasks=3)
    assert made(name).left_bytes(sizes, 3) == left(fitted)


def left(fitted: Fitted) -> int:
    kept = sum(value.numel() * value.element_size() for value in fitted.handover.kept.values())
    return kept + sum(change.bytes for change in fitted.handover.bank.values())


def dimensions(change: Change, bench: Tiny) -> Dimensions:
    weights = bench.base.pristine
    adapted = [item for item, delta in change.items() if delta.kind != "replaced"]
    shapes = tuple(
        LayerShape(item, rows=weights[item].shape[0], columns=weights[item].shape[1], block=block_of(item))
        for item in adapted
    )
    return Dimensions(shapes, sum(weights[item].numel() for item in change if item not in adapted), RANK, 10)


def made(name: str) -> TrainMethod:
    method = Registry().method(name)()
    assert isinstance(method, TrainMethod)
    return method
