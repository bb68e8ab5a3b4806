from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from bench import Recipe, decoder_blocks, image_positions, lora_adapters
from bench.checks.tiny import RANK, RECIPE, tiny
from bench.methods.lora import LoRA
from bench.methods.mdgd import MDGD, onto
from bench.methods.mdgd_gm import MDGDGM, kept
from bench.methods.visual_drift import VisualDrift, at_the_base, drift, trained, without
from bench.trial.fit import fit
from bench.trial.updates import MicroBatchSize

_STEP = 1e-3


def test_a_worked_example_of_both_projections() -> None:
    tuned = without(torch.tensor([3.0, 4.0, 1.0]), torch.tensor([1.0, 2.0, 2.0]), 1.0)
    base = without(torch.tensor([2.0, 1.0, -1.0]), torch.tensor([0.0, 1.0, 1.0]), 1.0)

    torch.testing.assert_close(tuned, torch.tensor([1.55555556, 1.11111111, -1.88888889]))
    torch.testing.assert_close(base, torch.tensor([2.0, 1.0, -1.0]))
    torch.testing.assert_close(onto(tuned, base), torch.tensor([2.03703704, 1.01851852, -1.01851852]))
    assert torch.cosine_similarity(tuned, base, dim=0).item() == pytest.approx(0.92834442)


def test_a_direction_of_zero_changes_nothing() -> None:
    gradient = torch.tensor([3.0, -4.0])

    assert torch.equal(without(gradient, torch.zeros(2), 1.0), gradient)
    assert torch.equal(onto(gradient, torch.zeros(2)), gradient)


@pytest.mark.parametrize(("form", "expected"), [("l1", 0.66666667), ("mse", 1.0), ("cosine", 0.02045574)])
def test_a_worked_example_of_the_drift(form: str, expected: float) -> None:
    states = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.0, 1.0]])
    base = torch.tensor([[1.0, 1.0], [2.0, -1.0], [0.0, 3.0]])

    assert drift(states, base, form).mean().item() == pytest.approx(expected, abs=1e-7)


def test_the_mask_keeps_the_largest_cosines_up_to_the_share() -> None:
    assert kept([0.5, -0.2, 0.9, 0.9], [10, 30, 20, 40], 0.2) == {2}
    assert kept([0.5, -0.2, 0.9, 0.9], [10, 30, 20, 40], 0.5) == {2, 3}
    assert kept([0.5, -0.2, 0.9, 0.9], [10, 30, 20, 40], 1e-6) == {2}
    assert kept([0.5, -0.2, 0.9, 0.9], [10, 30, 20, 40], 1.0) == {0, 1, 2, 3}


def test_a_worked_example_of_the_pulled_back_gradient() -> None:
    from peft import LoraConfig, get_peft_model

    layer = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False))
    model = get_peft_model(layer, LoraConfig(r=1, lora_alpha=2, target_modules=["0"]))
    adapter = next(lora_adapters(model))
    with torch.no_grad():
        adapter.a.copy_(torch.tensor([[1.0, 2.0]]))
        adapter.b.copy_(torch.tensor([[1.0], [-1.0]]))

    with at_the_base(model, {}):
        outputs = model(torch.eye(2))  # W transposed
        loss = (torch.tensor([[1.0, 1.0], [2.0, 0.0]]).T * outputs).sum()
        db, da = torch.autograd.grad(loss, [adapter.b, adapter.a])

    assert torch.equal(outputs, adapter.weight.T)
    assert db.tolist() == [[6.0], [4.0]]
    assert da.tolist() == [[-2.0, 2.0]]


@pytest.fixture
def whole(tiny_llava: Any, recipe: Recipe) -> Any:
    """A LoRA model in float64 whose B is not 0, and a batch."""
    model = LoRA().adapt(tiny_llava(), 2, recipe).double()
    with torch.no_grad():
        for parameter in trained(model).values():
            parameter += 0.05 * torch.randn_like(parameter)
    return model


def doubled(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}


def summed_loss(forward: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the sum of the learnt tokens' losses in float64; the model's own loss is float32."""
    logits = forward(**batch, use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum"
    )


@pytest.mark.parametrize("role", ["q_proj", "v_proj", "down_proj"])
@pytest.mark.parametrize("block", [0, 1])
def test_an_adapter_gets_the_base_models_gradient_in_the_full_weight(
    role: str, block: int, whole: Any, tiny_llava: Any, tiny_batch: Any
) -> None:
    batch, plain = doubled(tiny_batch()), tiny_llava().double()
    connector = {name: value for name, value in trained(whole).items() if "modules_to_save" in name}
    pristine = {name: plain.get_parameter(plain_name(name)).detach().clone() for name in connector}
    with at_the_base(whole, pristine) as forward:
        loss = summed_loss(forward, batch)
        adapter = next(item for item in lora_adapters(whole) if item.role == role and item.block == block)
        db, da = torch.autograd.grad(loss, [adapter.b, adapter.a])

    torch.testing.assert_close(loss, summed_loss(plain, batch))
    weight = plain.get_parameter(adapter.name).requires_grad_()
    (full,) = torch.autograd.grad(summed_loss(plain, batch), weight)
    torch.testing.assert_close(db, adapter.scale * full @ adapter.a.T, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(da, adapter.scale * adapter.b.T @ full, rtol=1e-4, atol=1e-6)
    for gradient, way in [(db, adapter.scale * db @ adapter.a), (da, adapter.scale * adapter.b @ da)]:
        # along the gradient itself, where the loss changes most: the model rounds to float32 inside
        length = way.norm().detach()
        found = slope(plain, weight, way.detach() / length, batch)
        torch.testing.assert_close(gradient.square().sum() / length, found, rtol=2e-3, atol=0.0)


def test_a_tuned_connector_gets_its_gradient_at_the_base(whole: Any, tiny_llava: Any, tiny_batch: Any) -> None:
    batch, plain = doubled(tiny_batch()), tiny_llava().double()
    connector = [name for name in trained(whole) if "modules_to_save" in name]
    pristine = {name: plain.get_parameter(plain_name(name)).detach().clone().requires_grad_() for name in connector}

    with at_the_base(whole, pristine) as forward:
        loss = summed_loss(forward, batch)
        gradients = torch.autograd.grad(loss, list(pristine.values()))

    assert len(connector) == 4
    for name, gradient in zip(connector, gradients, strict=True):
        found = slope(plain, plain.get_parameter(plain_name(name)), gradient / gradient.norm(), batch)
        torch.testing.assert_close(gradient.norm(), found, rtol=2e-3, atol=0.0)


def test_the_pass_at_the_base_leaves_no_hook_and_no_dropout_behind(
    tiny_llava: Any, tiny_batch: Any, recipe: Recipe
) -> None:
    model = LoRA().adapt(tiny_llava(), 2, replace(recipe, dropout=0.5)).train()
    model(**tiny_batch(), use_cache=False)  # transformers adds a hook of its own at the first pass
    hooks = count_hooks(model)
    with at_the_base(model, {}) as forward:
        first, second = (forward(**tiny_batch(), use_cache=False).loss for _ in range(2))

    assert torch.equal(first, second)
    assert hooks == count_hooks(model)
    assert all(module.training for module in model.modules() if isinstance(module, torch.nn.Dropout))


def test_the_gradient_of_the_drift_is_that_of_the_image_tokens_alone(
    tiny_llava: Any, tiny_batch: Any, recipe: Recipe, step_of: Any
) -> None:
    method, batch = MDGD(reference="none", strength=1.0), tiny_batch()
    model = method.adapt(tiny_llava(), 2, recipe)
    with torch.no_grad():
        for adapter in lora_adapters(model):
            adapter.b.normal_(std=0.1)
    outputs: dict[str, torch.Tensor] = {}
    decoder_blocks(model)[-1].register_forward_hook(lambda module, inputs, output: outputs.update(last=output))
    with torch.no_grad(), model.disable_adapter():
        model(**batch, use_cache=False)
    image, base = image_positions(model, batch["input_ids"]), outputs["last"]
    loss = model(**batch, use_cache=False).loss
    expected = (outputs["last"] - base).abs().mean(dim=2)[image].sum()
    names, parameters = zip(*trained(model).items(), strict=True)
    wanted = torch.autograd.grad(expected, parameters, retain_graph=True, allow_unused=True)

    method.backward(replace(step_of(model), batch=batch, loss=loss, reference=partial(untuned, model)))

    for name, gradient in zip(names, wanted, strict=True):
        if gradient is not None:
            torch.testing.assert_close(method.visual_[name], gradient)


def count_hooks(model: Any) -> list[int]:
    return [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]


@contextmanager
def untuned(model: Any) -> Iterator[Any]:
    with model.disable_adapter():
        yield model


def plain_name(name: str) -> str:
    return name.removeprefix("base_model.model.").replace(".modules_to_save.default", "")


def slope(model: Any, weight: torch.Tensor, way: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the derivative of the loss at the base model along a direction of one weight, by finite differences."""
    losses = []
    for size in (_STEP, -_STEP):
        with torch.no_grad():
            weight += size * way
            losses.append(summed_loss(model, batch))
            weight -= size * way
    return (losses[0] - losses[1]) / (2 * _STEP)


@pytest.mark.slow
@pytest.mark.parametrize("method", [MDGD, MDGDGM])
def test_smaller_micro_batches_make_the_same_updates_from_the_start(method: type[VisualDrift]) -> None:
    recipe = replace(RECIPE, dropout=0.0, updates=2)

    whole, parts = (
        fit(method(), RANK, 0, recipe, tiny().lessons, micro_batch=MicroBatchSize(size)).change for size in (8, 2)
    )

    for name, delta in whole.items():
        for part, value in delta.tensors().items():
            assert (parts[name].tensors()[part] - value).norm() <= 1e-3 * value.norm(), (name, part)
