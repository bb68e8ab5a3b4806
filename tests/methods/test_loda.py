from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import Dimensions, LayerShape, lora_adapters
from bench.checks.runs import Watched, logits, unequal
from bench.checks.tiny import RANK, tiny
from bench.errors import PluginError
from bench.methods import loda as module
from bench.methods.input_subspaces import eigenpairs, unsketched
from bench.methods.loda import LoDA
from bench.methods.lora import LoRA
from bench.model.change import LowRank
from bench.plugins.method import Step
from bench.trial.fit import Fitted
from bench.trial.stages import FIRST, Stage
from tests.making.loda_by_hand import Hand, moments
from tests.making.stage_runs import PLAIN, killed_and_resumed, stage_after, train_stage

SETTINGS: list[dict[str, Any]] = [{}, {"perturb": "descent", "rho_max": 0.5, "general_weight": 0.5}]


@pytest.fixture(scope="module", params=SETTINGS, ids=str)
def stages(request: pytest.FixtureRequest) -> tuple[dict[str, Any], Fitted, Stage, Fitted]:
    """The settings of a method, what its first stage learns, the second stage, and what is learnt there."""
    first = train_stage(LoDA(**request.param))
    stage = stage_after(first, LoDA(), 2)
    return request.param, first, stage, train_stage(LoDA(**request.param), stage)


@pytest.mark.slow
def test_two_stages_are_those_of_the_equations(stages: tuple[dict[str, Any], Fitted, Stage, Fitted]) -> None:
    settings, first, stage, second = stages
    for fitted, at in ((first, FIRST), (second, stage)):
        hand = Hand.start(at, LoDA(**settings))
        hand.train()

        own = fitted.handover.own or fitted.change
        for name, layer in hand.layers.items():
            found, (b, a) = own[name].tensors(), layer.answering()
            assert error(found["a"], a) < 1e-2
            assert error(found["b"], b) < 1e-2
            assert len(a) == RANK * len(at.tasks)
        for name, value in hand.connector.items():
            torch.testing.assert_close(own[name].tensors()["value"], value, atol=2e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_stage_keeps_the_second_moments_of_all_tasks(
    stages: tuple[dict[str, Any], Fitted, Stage, Fitted],
) -> None:
    _, first, stage, second = stages
    before, after = moments(tiny(), FIRST), moments(tiny(), stage)

    assert len(first.handover.kept) == len(second.handover.kept) == 2 * 8
    for name in {name.rpartition(".")[0] for name in first.handover.kept}:
        one, both = (
            unsketched(*(item.handover.kept[f"{name}.{part}"] for part in ("root", "mean"))) for item in (first, second)
        )
        torch.testing.assert_close(one.double(), before[name], atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(both.double(), before[name] + after[name], atol=1e-3, rtol=1e-4)


@pytest.mark.slow
def test_a_is_fixed_before_the_training_and_orthonormal_in_each_subspace(
    stages: tuple[dict[str, Any], Fitted, Stage, Fitted],
) -> None:
    settings, _, stage, second = stages
    watched = Watched(inner=LoDA(**settings))

    train_stage(watched, stage, recipe=replace(PLAIN, updates=1))

    weight, own = LoDA(**settings).general_weight, second.handover.own
    assert own is not None
    for adapter in lora_adapters(watched.model):
        a = own[adapter.name].tensors()["a"]
        assert torch.equal(adapter.a, a)
        for rows, length in ((a[:RANK], weight), (a[RANK:], 1.0)):
            torch.testing.assert_close(rows @ rows.T, length**2 * torch.eye(RANK), atol=1e-5, rtol=0.0)


@pytest.mark.slow
def test_the_merged_change_equals_the_live_model(stages: tuple[dict[str, Any], Fitted, Stage, Fitted]) -> None:
    settings, _, stage, fitted = stages
    bench, watched = tiny(), Watched(inner=LoDA(**settings))
    with stage.folded(bench.lessons):
        change = train_stage(watched, replace(stage, folds=False), bench).change
        live = logits(watched.model, bench)

    whole = fitted.change
    own = fitted.handover.own
    assert own is not None
    assert not unequal(change, own)
    with bench.base.holding(whole) as merged:
        torch.testing.assert_close(logits(merged, bench), live, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_smaller_micro_batches_learn_the_same(stages: tuple[dict[str, Any], Fitted, Stage, Fitted]) -> None:
    settings, first, stage, second = stages

    for at, whole in ((FIRST, first), (stage, second)):
        parts = train_stage(LoDA(**settings), at, recipe=replace(PLAIN, micro_batch_size=2))
        for name, delta in whole.change.items():
            for part, value in delta.tensors().items():
                assert error(parts.change[name].tensors()[part], value) < 1e-2


def error(found: Tensor, expected: Tensor) -> float:
    """Return the error of a matrix over its norm: Adam turns the rounding of a gradient near 0 into a whole step."""
    return float((found - expected.float()).norm() / expected.float().norm())


@pytest.mark.slow
def test_gradient_checkpointing_changes_nothing(stages: tuple[dict[str, Any], Fitted, Stage, Fitted]) -> None:
    settings, _, stage, fitted = stages

    spared = train_stage(LoDA(**settings), stage, plain_blocks=0)

    assert not unequal(spared.change, fitted.change)


@pytest.mark.slow
def test_an_update_that_did_not_fit_in_memory_is_the_one_of_smaller_micro_batches(
    stages: tuple[dict[str, Any], Fitted, Stage, Fitted],
) -> None:
    @dataclass(kw_only=True)
    class Crowded(LoDA):  # type: ignore[misc]
        def backward(self, step: Step) -> None:
            super().backward(step)
            if len(step.batch["labels"]) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")

    settings, _, stage, _ = stages

    small = train_stage(LoDA(**settings), stage, recipe=replace(PLAIN, micro_batch_size=2))

    assert not unequal(train_stage(Crowded(**settings), stage).change, small.change)


@pytest.mark.slow
def test_a_resumed_stage_has_the_same_bytes_wherever_its_eigenvectors_come_from(
    stages: tuple[dict[str, Any], Fitted, Stage, Fitted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _, stage, unbroken = stages
    made = []

    def make() -> LoDA:
        made.append(LoDA(**settings))
        if len(made) == 2:  # on another machine, vectors of equal eigenvalues may differ
            monkeypatch.setattr(module, "eigenpairs", lambda matrix: reversed_signs(*eigenpairs(matrix)))
        return made[-1]

    resumed = killed_and_resumed(make, stage, tmp_path)

    assert not unequal(unbroken.change, resumed.change)


def reversed_signs(values: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    return values, -vectors


@pytest.mark.slow
def test_examples_of_one_half_alone_make_an_ordinary_update() -> None:
    @dataclass(kw_only=True)
    class Ordinary(LoDA):  # type: ignore[misc]
        def backward(self, step: Step) -> None:
            LoRA.backward(self, step)

        def on_gradients(self, step: Step) -> None:
            pass

    recipe = replace(PLAIN, batch_size=1, updates=4)
    one, other = (train_stage(method(rho_max=0.5), recipe=recipe).change for method in (LoDA, Ordinary))

    for name, delta in one.items():
        for part, value in delta.tensors().items():
            torch.testing.assert_close(other[name].tensors()[part], value, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_the_first_task_may_keep_loras_own_a() -> None:
    plain, random = train_stage(LoRA(), recipe=replace(PLAIN, lr=0.0)), train_stage(LoDA(first="random"))

    for name, delta in random.change.items():
        if isinstance(delta, LowRank):
            assert torch.equal(delta.a, plain.change[name].tensors()["a"])


@pytest.mark.slow
def test_a_connectors_adapters_are_plain_lora() -> None:
    recipe = replace(PLAIN, connector="lora")
    first = train_stage(LoDA(), recipe=recipe)
    second = train_stage(LoDA(), stage_after(first, LoDA(), 2), recipe=recipe)

    own = second.handover.own
    assert own is not None
    ranks = {"projector" in name: len(delta.a) for name, delta in own.items() if isinstance(delta, LowRank)}
    assert ranks == {True: RANK, False: 2 * RANK}


@pytest.mark.slow
def test_a_stage_that_left_no_second_moments_is_refused_by_name() -> None:
    stage = replace(stage_after(train_stage(LoRA()), LoRA(), 2), folds=True)

    with pytest.raises(PluginError, match=r"left no second moments of .*layers\.0\.self_attn\.q_proj\.weight"):
        train_stage(LoDA(), stage)


def test_the_memory_holds_the_second_moments_of_the_widest_layer() -> None:
    layers = (LayerShape("0.down_proj.weight", 4096, 11008, 0), LayerShape("0.q_proj.weight", 4096, 4096, 0))

    found = LoDA().memory(Dimensions(layers, 0, 32, 600))

    assert found["a layer's second moments"] == 6 * 8 * 11008**2
