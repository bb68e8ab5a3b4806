"""An update is the same however many workers share it, and into however small parts they must cut it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.checks.tiny import RECIPE
from bench.plugins.method import TrainMethod
from bench.plugins.registry import Registry
from bench.trial import fit as training
from bench.trial.stages import FIRST
from bench.trial.updates import seed_update
from bench.values.recipe import Recipe
from tests.making.stage_runs import stage_after, train_stage
from tests.perf.before.loss import whole_loss
from tests.themes.parallel.worker import gradients

pytestmark = pytest.mark.slow  # two processes import torch

Job = Callable[..., list[Any]]

WHOLE = replace(RECIPE, batch_size=16, dropout=0.0, updates=4)

METHODS: list[tuple[str, Mapping[str, Any]]] = [
    ("lora", {}),
    ("dora", {}),
    ("l2", {"coefficient": 0.01, "form": "sumsq_AB"}),
    ("l2", {"coefficient": 1.0, "form": "mse_from_init"}),
    ("l2", {"coefficient": 0.01, "form": "delta_fro2"}),
    ("orth_reg", {"coefficient": 0.1}),
    ("lorasculpt", {"alpha": 1.0, "warmup": 0.5, "density": 0.3}),
    ("lorasculpt", {"alpha": 1.0, "warmup": 0.5, "mask_grads": True}),
    ("mixlora", {}),
    ("mixlora", {"condition": "input_lora_a"}),
    ("replay", {"share": 0.5}),
    ("mdgd", {}),
    ("mdgd_gm", {}),
    ("dac", {}),
    ("lilora", {}),
    ("loda", {}),
    ("projected", {}),
]
# methods of a sequence, whose later stages read what all workers have seen
LATER: list[tuple[str, Mapping[str, Any]]] = [
    ("tree_lora", {"norm": "log"}),
    ("tree_lora", {"source": "weights", "pick": "farthest", "draw": "multinomial"}),
    ("loda", {"perturb": "descent", "rho_max": 0.5}),
    ("dac", {"active": 0.5, "merged": 0.5, "coefficient": 3.0}),
    ("lilora", {"lam": 20.0}),
]

JOINT: list[tuple[str, Mapping[str, Any]]] = [
    ("lora", {}),
    ("ortho_lora", {}),
    ("ortho_lora", {"unit": "global"}),
    ("mtl_lora", {}),
]


def updates_of(learnt: Mapping[str, Any]) -> torch.Tensor:
    """Return by how much each update moved all trained weights [updates, weights], in float64."""
    moved: torch.Tensor = learnt["weights"].double().diff(dim=0)
    return moved


def gap(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Return the largest relative difference of an update."""
    moved, also = updates_of(one), updates_of(other)
    return float(((moved - also).norm(dim=1) / moved.norm(dim=1)).max())


def learn(
    pair: Job, name: str, hyper: Mapping[str, Any], recipe: Recipe, *, joint: bool = False
) -> tuple[Any, Any, Any]:
    """Return what one worker alone learns, and what each of two learns together."""
    alone, _ = pair("learn", name, hyper, recipe, False, FIRST, joint)
    first, second = pair("learn", name, hyper, recipe, True, FIRST, joint)
    return alone, first, second


@pytest.mark.parametrize("connector", ["full", "lora"])
@pytest.mark.parametrize(("name", "hyper"), METHODS)
def test_two_workers_make_the_update_of_one(pair: Job, name: str, hyper: Mapping[str, Any], connector: Any) -> None:
    alone, first, second = learn(pair, name, hyper, replace(WHOLE, connector=connector))

    # Measured: 1e-5 at most, and of mdgd 3e-3: what its projections leave may be rounding, and Adam makes it a step.
    assert gap(alone, first) < (1e-2 if name == "mdgd" else 3e-5)
    assert torch.equal(first["weights"], second["weights"])
    assert first["losses"] == second["losses"]
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-4 if name == "mdgd" else 1e-5)
    assert first["masks"].keys() == alone["masks"].keys()
    for key, mask in alone["masks"].items():
        assert torch.equal(first["masks"][key], mask)
        assert torch.equal(second["masks"][key], mask)
    assert bool(alone["masks"]) == (name == "lorasculpt")


@pytest.mark.parametrize("micro_batch_size", [None, 3])  # each worker has 8 examples: 3 + 3 + 2
def test_two_workers_have_the_gradient_of_all_logits(
    pair: Job, micro_batch_size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(WHOLE, updates=1)
    first, second = pair("gradients", replace(recipe, micro_batch_size=micro_batch_size), True)
    monkeypatch.setattr(training, "answer_loss", whole_loss)

    wanted = gradients(recipe, together=False)

    assert first.keys() == second.keys() == wanted.keys()
    assert len(wanted) > 20
    for name, value in wanted.items():
        assert torch.equal(first[name], second[name])
        assert (first[name] - value).norm() <= 1e-6 * value.norm(), name


@pytest.mark.parametrize(("name", "hyper"), LATER)
def test_two_workers_make_the_update_of_one_in_a_later_stage(pair: Job, name: str, hyper: Mapping[str, Any]) -> None:
    method = Registry().method(name)
    assert issubclass(method, TrainMethod)
    before = train_stage(method(**hyper))
    stage = stage_after(before, method(**hyper), 2)

    alone, _ = pair("learn", name, hyper, WHOLE, False, stage)
    first, second = pair("learn", name, hyper, WHOLE, True, stage)

    assert gap(alone, first) < 3e-5
    assert torch.equal(first["weights"], second["weights"])
    assert first["losses"] == second["losses"]


@pytest.mark.parametrize("batch_size", [16, 2])  # of 2 examples, each worker has one task of three
@pytest.mark.parametrize(("name", "hyper"), JOINT)
def test_two_workers_make_the_joint_update_of_one(
    pair: Job, name: str, hyper: Mapping[str, Any], batch_size: int
) -> None:
    alone, first, second = learn(pair, name, hyper, replace(WHOLE, batch_size=batch_size), joint=True)

    assert gap(alone, first) < 3e-3  # of few examples, a gradient may cancel out to 1e-8: Adam's step is its rounding
    assert torch.equal(first["weights"], second["weights"])
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-5)


def test_a_worker_without_examples_takes_part(pair: Job) -> None:
    recipe = replace(WHOLE, batch_size=1)

    for name in ("lora", "lorasculpt", "mdgd", "mdgd_gm"):
        alone, first, second = learn(pair, name, {}, recipe)

        assert torch.equal(first["weights"], alone["weights"])
        assert torch.equal(second["weights"], alone["weights"])


def test_unequal_shares_in_unequal_parts_make_the_same_update(pair: Job) -> None:
    recipe = replace(WHOLE, batch_size=7)
    whole, _, _ = learn(pair, "projected", {}, recipe)

    alone, first, second = learn(pair, "projected", {}, replace(recipe, micro_batch_size=3))  # 3 + 3 + 1; 3 + 1 and 3

    assert gap(whole, alone) < 3e-5
    assert gap(whole, first) < 3e-5
    assert torch.equal(first["weights"], second["weights"])


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
