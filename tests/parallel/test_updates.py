"""An update is the same however many workers share it, and into however small parts they must cut it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import nn

from bench.api import Step
from bench.checks.runs import unequal
from bench.checks.tiny import RANK, RECIPE, tiny
from bench.errors import TrialError
from bench.fit import fit
from bench.registry import load_method
from bench.spec import Recipe
from bench.updates import Room, seed_update

pytestmark = pytest.mark.slow  # two processes import torch

Job = Callable[..., list[Any]]

LoRA = load_method("lora")

WHOLE = replace(RECIPE, batch_size=16, dropout=0.0, updates=4)

METHODS: list[tuple[str, Mapping[str, Any]]] = [
    ("lora", {}),
    ("dora", {}),
    ("l2", {"coefficient": 0.01, "form": "sumsq_AB"}),
    ("l2", {"coefficient": 1.0, "form": "mse_from_init"}),
    ("l2", {"coefficient": 0.01, "form": "delta_fro2"}),
    ("orth_reg", {"coefficient": 0.1}),
    ("lorasculpt", {"alpha": 1.0, "warmup": 0.5, "density": 0.3}),
    ("lorasculpt", {"alpha": 1.0, "warmup": 0.5, "mask_grads": True, "zero_moments": True}),
    ("projected", {}),
]


def updates_of(learnt: Mapping[str, Any]) -> torch.Tensor:
    """Return by how much each update moved all trained weights [updates, weights], in float64."""
    moved: torch.Tensor = learnt["weights"].double().diff(dim=0)
    return moved


def gap(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Return the largest relative difference of an update."""
    moved, also = updates_of(one), updates_of(other)
    return float(((moved - also).norm(dim=1) / moved.norm(dim=1)).max())


def learn(pair: Job, name: str, hyper: Mapping[str, Any], recipe: Recipe) -> tuple[Any, Any, Any]:
    """Return what one worker alone learns, and what each of two learns together."""
    alone, _ = pair("learn", name, hyper, recipe, False)
    first, second = pair("learn", name, hyper, recipe, True)
    return alone, first, second


@pytest.mark.parametrize("connector", ["full", "lora"])
@pytest.mark.parametrize(("name", "hyper"), METHODS)
def test_two_workers_make_the_update_of_one(pair: Job, name: str, hyper: Mapping[str, Any], connector: Any) -> None:
    alone, first, second = learn(pair, name, hyper, replace(WHOLE, connector=connector))

    assert gap(alone, first) < 3e-5  # measured: 1e-5 at most
    assert torch.equal(first["weights"], second["weights"])
    assert first["losses"] == second["losses"]
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert first["masks"].keys() == alone["masks"].keys()
    for key, mask in alone["masks"].items():
        assert torch.equal(first["masks"][key], mask)
        assert torch.equal(second["masks"][key], mask)
    assert bool(alone["masks"]) == (name == "lorasculpt")


def test_a_worker_without_examples_takes_part(pair: Job) -> None:
    recipe = replace(WHOLE, batch_size=1)

    for name in ("lora", "lorasculpt"):
        alone, first, second = learn(pair, name, {}, recipe)

        assert torch.equal(first["weights"], alone["weights"])
        assert torch.equal(second["weights"], alone["weights"])


def test_workers_draw_dropout_of_their_own_and_hooks_draw_alike(pair: Job) -> None:
    (one, hook), (other, hook_too) = pair("drawn", 0, 3)

    assert one != other
    assert hook == hook_too
    seed_update(0, 3)
    alone = torch.rand(()).item()
    assert alone not in {one, other}
    assert pair("drawn", 0, 3) == [(one, hook), (other, hook)]
    assert torch.rand((), generator=seed_update(0, 3)).item() == hook


def test_a_careless_hook_that_draws_from_torch_keeps_the_workers_alike(pair: Job) -> None:
    _, first, second = learn(pair, "careless", {}, replace(WHOLE, dropout=0.1))

    assert torch.equal(first["weights"], second["weights"])


def test_what_does_not_fit_is_cut_smaller_without_changing_the_update(pair: Job) -> None:
    whole, first, _ = learn(pair, "projected", {}, WHOLE)
    crowded, together, _ = learn(pair, "crowded", {}, WHOLE)

    assert (whole["micro_batch_size"], first["micro_batch_size"]) == (16, 16)
    assert (crowded["micro_batch_size"], crowded["found"]) == (2, 2)
    assert (together["micro_batch_size"], together["found"]) == (2, 2)
    assert gap(whole, crowded) < 3e-5
    assert gap(whole, together) < 3e-5


@dataclass(kw_only=True)
class Crowded(LoRA):  # type: ignore[valid-type, misc]
    """LoRA whose micro-batches of more than ``most`` examples do not fit, and the sizes it has tried."""

    most: int
    tried: list[int] = field(default_factory=list)

    def backward(self, step: Step) -> None:
        self.tried.append(len(step.batch["labels"]))
        super().backward(step)
        if len(step.batch["labels"]) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")


def test_the_size_that_fits_stays_for_the_trainings_to_come() -> None:
    room, recipe = Room(), replace(RECIPE, updates=2)
    first, second = Crowded(most=3), Crowded(most=3)

    fitted = fit(first, RANK, 0, recipe, tiny().train, room=room)
    again = fit(second, RANK, 0, recipe, tiny().train, room=room)

    assert first.tried == [8, 4, *[2] * 8]
    assert second.tried == [2] * 8
    assert (fitted.micro_batch_size, again.micro_batch_size) == (2, 2)
    assert fitted.losses == again.losses  # seeded anew at every attempt


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
    assert Room(most, found).size(8, replace(RECIPE, micro_batch_size=micro)) == size


@contextmanager
def counted(model: nn.Module) -> Iterator[list[int]]:
    """Count how often the model's first block is computed, in the trees made of it too."""
    count = [0]

    def tick(*_: object) -> None:
        count[0] += 1

    handle = model.register_forward_pre_hook(tick)
    yield count
    handle.remove()


@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_gradient_checkpointing_gives_the_same_bits(dropout: float) -> None:
    method, recipe = load_method("lorasculpt"), replace(RECIPE, dropout=dropout)
    forwards = []

    learnt = []
    for sparing in (False, True):
        bench = tiny()
        layer: Any = bench.base.model.get_submodule("model.language_model.layers.0.mlp.gate_proj")
        with counted(layer) as count:
            learnt.append(fit(method(), RANK, 0, recipe, bench.train, gradient_checkpointing=sparing))  # type: ignore[arg-type]
        forwards.append(count[0])

    one, other = (fitted.change for fitted in learnt)
    assert one is not None
    assert other is not None
    assert not unequal(one, other)
    assert learnt[0].losses == learnt[1].losses
    assert forwards == [RECIPE.updates, 2 * RECIPE.updates]  # computed again on the way back
