from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from bench import Decomposed, Recipe
from bench.checks.tiny import RECIPE, tiny
from bench.methods.dora import DoRA
from bench.model.adapters import on_pristine

W0 = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
A = torch.tensor([[0.0, 1.0]])
B = torch.tensor([[-4.0], [0.0]])


def test_the_norm_is_taken_over_each_row() -> None:
    delta = Decomposed(b=B, a=A, scale=1.0, magnitude=torch.tensor([5.0, 2.0]))

    assert torch.equal(delta.merged(W0), torch.tensor([[5.0, 0.0], [0.0, 2.0]]))


def test_peft_starts_the_magnitude_at_the_row_norms_and_computes_the_same_weight() -> None:
    from peft import LoraConfig, get_peft_model

    layer = nn.Sequential(nn.Linear(2, 2, bias=False))
    layer[0].weight = nn.Parameter(W0.clone())
    wrapped = get_peft_model(layer, LoraConfig(r=1, lora_alpha=1, target_modules=["0"], use_dora=True))
    live = wrapped.base_model.model[0]
    magnitude = live.lora_magnitude_vector["default"].weight
    with torch.no_grad():
        live.lora_A["default"].weight.copy_(A)
        live.lora_B["default"].weight.copy_(B)

        outputs = wrapped(torch.eye(2))

    assert torch.equal(magnitude, torch.tensor([5.0, 2.0]))
    torch.testing.assert_close(outputs.T, torch.tensor([[5.0, 0.0], [0.0, 2.0]]))


def test_an_untrained_dora_is_the_base_model(tiny_llava: Any, tiny_batch: Any, recipe: Recipe) -> None:
    base = tiny_llava()
    before = base(**tiny_batch()).logits

    wrapped = DoRA().adapt(base, 2, recipe)

    torch.testing.assert_close(wrapped(**tiny_batch()).logits, before)


@pytest.mark.slow
def test_what_dora_learnt_reproduces_its_outputs(tiny_llava: Any, tiny_batch: Any, recipe: Recipe, train: Any) -> None:
    wrapped = train(DoRA(), tiny_llava(), recipe).eval()
    change = DoRA().change(wrapped)
    plain = tiny_llava()
    with torch.no_grad():
        for name, delta in change.items():
            parameter = plain.get_parameter(name)
            parameter.copy_(delta.merged(parameter))

        merged, adapted = plain(**tiny_batch()).logits, wrapped(**tiny_batch()).logits

    assert any(isinstance(delta, Decomposed) for delta in change.values())
    torch.testing.assert_close(merged, adapted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_an_untrained_dora_answers_exactly_as_its_base_and_changes_nothing(dtype: str) -> None:
    bench = tiny(dtype)
    batch = bench.batch()
    with torch.no_grad():
        before = bench.base.model(**batch).logits

        # a connector that is tuned in full computes in float32, with any method
        wrapped = DoRA().adapt(bench.base.tree(), 2, replace(RECIPE, connector="frozen")).eval()
        after = wrapped(**batch).logits

    assert torch.equal(after, before)
    for name, delta in DoRA().change(wrapped).items():
        weight = bench.base.pristine[name].float()
        assert torch.equal(delta.merged(weight), weight), name


def test_an_untrained_dora_changes_nothing_of_a_checkpoint_in_another_precision() -> None:
    whole, half = tiny("float32").base.pristine, tiny("bfloat16")
    wrapped = DoRA().adapt(half.base.tree(), 2, RECIPE).eval()

    change = on_pristine(DoRA().change(wrapped), wrapped, whole)

    decomposed = {name: delta for name, delta in change.items() if isinstance(delta, Decomposed)}
    assert decomposed
    for name, delta in decomposed.items():
        torch.testing.assert_close(delta.merged(whole[name]), whole[name], rtol=1e-6, atol=0)
        assert not torch.equal(DoRA().change(wrapped)[name].merged(whole[name]), whole[name])
