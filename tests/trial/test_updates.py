"""How an update fits into memory: in smaller parts, and with less kept for the way back."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import nn

from bench.checks.runs import unequal
from bench.checks.tiny import RANK, RECIPE, tiny
from bench.errors import TrialError
from bench.plugins.method import Step
from bench.plugins.registry import Registry
from bench.trial.fit import fit
from bench.trial.updates import MicroBatchSize
from bench.values.recipe import Recipe

LoRA = Registry().method("lora")


@dataclass(kw_only=True)
class Crowded(LoRA):  # type: ignore[valid-type, misc]
    """LoRA whose micro-batches of more than ``most`` examples do not fit, and the sizes it has tried."""

    most: int
    tried: list[int] = field(default_factory=list)
    loss: Callable[[], object] = lambda: None

    def backward(self, step: Step) -> None:
        self.loss = weakref.ref(step.loss)
        self.tried.append(len(step.batch["labels"]))
        super().backward(step)
        if len(step.batch["labels"]) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.slow
def test_the_size_that_fits_stays_for_the_trainings_to_come(caplog: pytest.LogCaptureFixture) -> None:
    micro_batch, recipe = MicroBatchSize(), replace(RECIPE, updates=2)
    first, second = Crowded(most=3), Crowded(most=3)

    fitted = fit(first, RANK, 0, recipe, tiny().train, micro_batch=micro_batch)
    again = fit(second, RANK, 0, recipe, tiny().train, micro_batch=micro_batch)

    assert first.tried == [8, 4, *[2] * 8]
    assert second.tried == [2] * 8
    assert (fitted.micro_batch_size, again.micro_batch_size) == (2, 2)
    assert fitted.losses == again.losses  # seeded anew at every attempt
    assert caplog.messages == [
        f"{size} examples at once do not fit in memory; from now on, {half} are processed at once. See --micro-batch."
        for size, half in ((8, 4), (4, 2))
    ]


@dataclass
class Watching(MicroBatchSize):
    """Notes, whenever it has to halve, whether the loss is still there, and its graph with it."""

    method: Crowded = field(default_factory=lambda: Crowded(most=0))
    alive: list[bool] = field(default_factory=list)

    def halve(self, count: int, recipe: Recipe) -> None:
        self.alive.append(self.method.loss() is not None)
        super().halve(count, recipe)


def test_what_did_not_fit_is_freed_before_the_next_attempt() -> None:
    method = Crowded(most=3)
    micro_batch = Watching(method=method)

    fit(method, RANK, 0, replace(RECIPE, updates=1), tiny().train, micro_batch=micro_batch)

    assert micro_batch.alive == [False, False]


def test_one_example_that_does_not_fit_ends_the_training_with_what_to_do() -> None:
    with pytest.raises(TrialError, match="One example alone does not fit in memory"):
        fit(Crowded(most=0), RANK, 0, RECIPE, tiny().train)


@pytest.mark.parametrize(
    ("most", "micro", "found", "size"),
    [(None, None, None, 8), (None, 3, None, 3), (5, 3, None, 5), (None, 3, 2, 2), (20, None, None, 8), (1, 3, 2, 1)],
)
def test_the_command_decides_on_the_micro_batch_then_the_recipe_and_memory_always(
    most: int | None, micro: int | None, found: int | None, size: int
) -> None:
    assert MicroBatchSize(most, found).size(8, replace(RECIPE, micro_batch_size=micro)) == size


@contextmanager
def counted(model: nn.Module) -> Iterator[list[int]]:
    """Count how often a module is computed, in the trees made of its model too."""
    count = [0]

    def tick(*_: object) -> None:
        count[0] += 1

    handle = model.register_forward_pre_hook(tick)
    yield count
    handle.remove()


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_any_number_of_checkpointed_blocks_gives_the_same_bits_and_only_they_are_computed_twice(dropout: float) -> None:
    method, recipe = Registry().method("lorasculpt"), replace(RECIPE, updates=4, dropout=dropout)
    bench = tiny()
    blocks = len(bench.base.model.get_submodule("model.language_model.layers"))  # type: ignore[arg-type]
    forwards, learnt = {}, {}

    for plain in (None, blocks, *reversed(range(blocks))):
        bench = tiny()
        layers = [bench.base.model.get_submodule(f"model.language_model.layers.{n}.mlp") for n in range(blocks)]
        with ExitStack() as stack:
            counts = [stack.enter_context(counted(layer)) for layer in layers]
            learnt[plain] = fit(method(), RANK, 0, recipe, bench.train, plain_blocks=plain)  # type: ignore[arg-type]
        forwards[plain] = [count[0] // recipe.updates for count in counts]

    assert blocks > 1
    assert forwards.pop(None) == [1] * blocks
    assert forwards == {plain: [1] * plain + [2] * (blocks - plain) for plain in range(blocks + 1)}
    assert learnt[None].change
    for fitted in learnt.values():
        assert not unequal(fitted.change, learnt[None].change)
        assert fitted.losses == learnt[None].losses
