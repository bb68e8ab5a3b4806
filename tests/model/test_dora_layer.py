"""DoRA's layers against peft's, and what they compute and keep."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.checks.tiny import RANK, RECIPE, tiny
from bench.methods.dora import DoRA
from bench.model import dora_layer
from bench.model.adapters import compute_factors, insert_lora, lora_adapters
from bench.model.dora_layer import Magnitude, base_norms, row_norms
from bench.trial.fit import fit
from bench.trial.updates import MicroBatchSize
from tests.making.live_tensors import live_tensors

OUT, IN, TOKENS = 37, 53, 11  # no two products of them are equal
LAYERS = 14


def pefts(bias: bool, dropout: float, dtype: torch.dtype = torch.float32) -> Any:
    """Return peft's own DoRA layer; its factors and magnitudes are drawn at random."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(IN, OUT, bias=bias, dtype=dtype))
    config = LoraConfig(r=3, lora_alpha=6, target_modules=["0"], use_dora=True, lora_dropout=dropout)
    layer: Any = get_peft_model(plain, config).base_model.model[0]
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_()
        layer.lora_magnitude_vector["default"].weight.mul_(1 + torch.rand(OUT))
    return layer


def ours(layer: Any, *, drop_base: bool = True) -> Any:
    """Put our magnitudes in place of peft's in a layer; they have the same values."""
    made = Magnitude(layer.get_base_layer().weight, drop_base=drop_base)
    with torch.no_grad():
        made.weight.copy_(layer.lora_magnitude_vector["default"].weight)
    layer.lora_magnitude_vector["default"] = layer.lora_variant["default"] = made
    return layer


def test_the_norms_of_a_plans_weight_have_the_shape_of_real_ones() -> None:
    weight = torch.randn(OUT, IN, dtype=torch.bfloat16)

    planned, real = base_norms(weight.to("meta")), base_norms(weight)

    assert planned.is_meta
    assert (planned.shape, planned.dtype) == (real.shape, real.dtype)


def output_and_gradients(layer: Any) -> list[Tensor]:
    """Return a layer's output, and the gradients of its input and of what it trains, from a fixed loss."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, TOKENS, IN, generator=generator).requires_grad_()
    torch.manual_seed(3)
    out = layer(x)
    (out * torch.randn(out.shape, generator=generator)).sum().backward()
    trained = (layer.lora_A["default"], layer.lora_B["default"], layer.lora_magnitude_vector["default"])
    return [out.detach(), x.grad, *(module.weight.grad for module in trained)]  # type: ignore[list-item]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_layer_and_its_gradients_are_pefts_to_a_millionth(bias: bool, dropout: float) -> None:
    expected = output_and_gradients(pefts(bias, dropout))

    found = output_and_gradients(ours(pefts(bias, dropout)))

    for own, other in zip(found, expected, strict=True):
        assert (own - other).norm() <= 1e-6 * other.norm()


def test_the_factored_norms_are_those_of_the_sum() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, a, b = (torch.randn(*shape, generator=generator) for shape in ((3000, 40), (8, 40), (3000, 8)))

    for size in (0.0, 1e-3, 1.0):
        found = row_norms(weight, a, size * b, 2.0, base_norms(weight))
        expected = (weight.double() + 2 * size * b.double() @ a.double()).norm(dim=1)
        torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
    assert torch.equal(row_norms(weight, a, 0 * b, 2.0, base_norms(weight)), weight.norm(dim=1))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Return a list that grows when a layer's norms are computed."""
    calls: list[None] = []

    def counting(*arguments: Any) -> Tensor:
        calls.append(None)
        return row_norms(*arguments)

    monkeypatch.setattr(dora_layer, "row_norms", counting)
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_training_computes_each_norm_once_an_update(counted: list[None], checkpointing: bool) -> None:
    recipe = replace(RECIPE, updates=3)

    fit(
        DoRA(),
        RANK,
        0,
        recipe,
        tiny().lessons,
        micro_batch=MicroBatchSize(3),
        plain_blocks=0 if checkpointing else None,
    )

    assert len(counted) == LAYERS * recipe.updates


def test_the_norm_follows_every_write_and_every_new_tensor(counted: list[None]) -> None:
    layer = ours(pefts(bias=False, dropout=0.0))
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    x = torch.randn(4, IN)

    def check() -> None:
        with torch.no_grad():
            weight = layer.base_layer.weight + 2 * b @ a
            expected = x @ (layer.lora_magnitude_vector["default"].weight / weight.norm(dim=1))[:, None].mul(weight).T
            torch.testing.assert_close(layer(x), expected)

    check()
    with torch.no_grad():
        a.mul_(2)
    check()
    with torch.no_grad():
        b.add_(1)
    check()
    b.data = torch.ones_like(b)
    check()
    check()
    assert len(counted) == 4


def test_the_norm_follows_a_factor_that_is_computed() -> None:
    class Twice(nn.Module):
        def forward(self, factor: Tensor) -> Tensor:
            return 2 * factor

    model = insert_lora(tiny().base.tree(), RANK, RECIPE, dora=True)
    adapter = next(lora_adapters(model))
    layer: Any = model.get_submodule(f"base_model.model.{adapter.name.removesuffix('.weight')}")
    magnitude, trained = layer.lora_magnitude_vector["default"], layer.lora_B["default"].weight
    compute_factors(model, adapter, b=Twice())
    for size in (1.0, 3.0):
        with torch.no_grad():
            trained.copy_(torch.full_like(trained, size))
        b = layer.lora_B["default"].weight

        norms = magnitude.norms(adapter.stored, adapter.a, b, adapter.scale)

        expected = (adapter.weight + adapter.scale * 2 * trained @ adapter.a).norm(dim=1)
        torch.testing.assert_close(norms, expected)


def test_a_norm_of_an_evaluation_serves_a_training() -> None:
    layer = ours(pefts(bias=False, dropout=0.0))
    with torch.inference_mode():
        layer(torch.randn(2, IN))

    assert all(value is not None for value in output_and_gradients(layer))


@pytest.fixture
def _only_new_objects() -> Iterator[None]:
    """Let the garbage collector know only what the test makes; a process of pytest has millions of other objects."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_only_new_objects")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_no_other_tensor_of_the_weights_size_is_kept(dtype: torch.dtype, dropout: float) -> None:
    layer = ours(pefts(bias=True, dropout=dropout, dtype=dtype))
    before, saved = live_tensors(OUT * IN), []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = layer(torch.randn(TOKENS, IN, dtype=dtype, requires_grad=True))

    assert out.dtype == dtype
    assert [item for item in saved if item.shape == (TOKENS, OUT)]
    large = [item for item in (*saved, *live_tensors(OUT * IN)) if item.numel() >= OUT * IN]
    assert {item.data_ptr() for item in large} <= {item.data_ptr() for item in before}


def test_dropout_on_the_low_rank_path_leaves_the_bases_product_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [ours(pefts(bias=True, dropout=0.5), drop_base=drops) for drops in (False, True)]
    outputs, products = [], []
    for layer in layers:
        with torch.no_grad():
            layer.lora_B["default"].weight.zero_()
        forward, calls = layer.base_layer.forward, list[Tensor]()
        monkeypatch.setattr(layer.base_layer, "forward", lambda x, f=forward, calls=calls: (calls.append(x), f(x))[1])
        x = torch.ones(TOKENS, IN)
        outputs.append([layer(x), layer(x), layer.eval()(x)])
        products.append(len(calls))

    low_rank, base_too = outputs
    torch.testing.assert_close(low_rank[0], low_rank[2])
    assert torch.equal(low_rank[0], low_rank[1])
    assert not torch.allclose(base_too[0], base_too[1])
    torch.testing.assert_close(base_too[2], low_rank[2])
    assert products == [3, 5]


@pytest.mark.slow
def test_without_dropout_both_choices_train_alike() -> None:
    recipe = replace(RECIPE, dropout=0.0, updates=2)

    one, other = (fit(DoRA(dropout=choice), RANK, 0, recipe, tiny().lessons) for choice in ("peft", "low_rank"))

    assert one.losses == other.losses
    dropping = fit(DoRA(dropout="low_rank"), RANK, 0, replace(recipe, dropout=0.3), tiny().lessons)
    assert dropping.losses != one.losses
