"""Training in half precision: what is trained is held in float32."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench import Recipe
from bench.checks.tiny import RANK, RECIPE, Tiny, tiny
from bench.model.adapters import insert_lora, lora_adapters, tuned_connector
from bench.model.change import Change, Replaced
from bench.model.llava.family import Llava
from bench.plugins.method import TrainMethod
from bench.plugins.registry import Registry
from bench.trial.fit import fit
from bench.trial.updates import tensor_cores
from bench.values.recipe import Dtype

PAPER = replace(RECIPE, updates=12, lr=2e-4, connector_lr=2e-5)


def trained(bench: Tiny, recipe: Recipe, method: str = "lora") -> Change:
    made = Registry().method(method)()
    assert isinstance(made, TrainMethod)
    change = fit(made, RANK, 0, recipe, bench.train).change
    assert change is not None
    return change


def moved(bench: Tiny, change: Change) -> Tensor:
    """Return how far every weight of the connector has gone, as one vector."""
    steps = [
        (delta.value - bench.base.pristine[name].float()).flatten()
        for name, delta in change.items()
        if isinstance(delta, Replaced)
    ]
    return torch.cat(steps)


@pytest.mark.slow
def test_a_connector_moves_in_bfloat16_as_in_float32() -> None:
    half, full = tiny("bfloat16"), tiny("float32")

    in_half = moved(half, trained(half, replace(PAPER, train_dtype="bfloat16")))
    in_full = moved(full, trained(full, PAPER))

    assert in_half.abs().mean() == pytest.approx(float(in_full.abs().mean()), rel=0.1)
    assert (in_half.sign() == in_full.sign()).float().mean() > 0.9


@pytest.mark.parametrize(
    ("dtype", "kind", "allowed"),
    [("bfloat16", "cuda", True), ("float16", "cuda", True), ("float32", "cuda", False), ("bfloat16", "cpu", False)],
)
def test_half_precision_alone_lets_a_gpu_use_tf32(dtype: Dtype, kind: str, allowed: bool) -> None:
    recipe, matmul = replace(PAPER, train_dtype=dtype), torch.backends.cuda.matmul

    with pytest.raises(RuntimeError, match="in the middle"), tensor_cores(recipe, torch.device(kind)):  # noqa: PT012
        assert matmul.allow_tf32 is allowed
        raise RuntimeError("in the middle")

    assert matmul.allow_tf32 is False


def test_without_masters_most_of_the_connector_would_stand_still() -> None:
    weights = torch.cat(
        [value.flatten() for name, value in tiny("bfloat16").base.pristine.items() if Llava.connector in name]
    )

    stays = weights + PAPER.connector_lr == weights

    assert stays[weights != 0].float().mean() > 0.8


@pytest.mark.parametrize("method", ["lora", "dora", "lorasculpt", "l2", "orth_reg"])
def test_a_change_trained_in_bfloat16_is_float32(method: str) -> None:
    change = trained(tiny("bfloat16"), replace(RECIPE, updates=2, train_dtype="bfloat16"), method)

    assert {tensor.dtype for delta in change.values() for tensor in delta.tensors().values()} == {torch.float32}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_all_that_is_trained_is_float32_and_the_base_stays(dtype: str) -> None:
    bench = tiny(dtype)
    wrapped = insert_lora(bench.base.tree(), RANK, RECIPE, dora=True)

    loss = wrapped(**bench.batch(), use_cache=False).loss
    loss.backward()

    trainable = {name: value for name, value in wrapped.named_parameters() if value.requires_grad}
    assert {value.dtype for value in trainable.values()} == {torch.float32}
    assert all(value.grad is not None and value.grad.isfinite().all() for value in trainable.values())
    assert {value.dtype for value in wrapped.parameters() if not value.requires_grad} == {getattr(torch, dtype)}


def test_the_connectors_output_stays_in_the_bases_dtype() -> None:
    bench = tiny("bfloat16")
    wrapped = insert_lora(bench.base.tree(), RANK, RECIPE)
    seen: list[torch.dtype] = []
    connector = wrapped.get_submodule(f"base_model.model.model.{Llava.connector}")
    connector.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))

    wrapped(**bench.batch(), use_cache=False)
    with wrapped.disable_adapter():  # type: ignore[operator]
        wrapped(**bench.batch(), use_cache=False)

    assert seen == [torch.bfloat16, torch.bfloat16]


def test_in_float32_a_connector_has_no_hooks() -> None:
    wrapped = insert_lora(tiny().base.tree(), RANK, RECIPE)

    assert not any(module._forward_hooks or module._forward_pre_hooks for module in wrapped.modules())
    assert len(list(lora_adapters(wrapped))) == 14
    assert len(tuned_connector(wrapped)) == 4
