from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from bench import Change, Dimensions, EditContext, LayerShape, PluginError, Recipe, Routed, UsageError, lora_adapters
from bench.checks.runs import Watched, learn, logits, unequal
from bench.checks.tiny import RECIPE, tiny
from bench.methods.dare import DARE
from bench.methods.mixlora import MixLoRA
from bench.methods.model_tailor import ModelTailor
from bench.methods.rewind import Rewind
from bench.model.routed import Router
from bench.trial.fit import fit
from bench.trial.updates import MicroBatchSize

NAME = "model.language_model.layers.0.self_attn.q_proj.weight"
SELECTORS = ("select_a", "select_b", "select_ab")


def routers(model: nn.Module) -> list[Router]:
    return [module for module in model.modules() if isinstance(module, Router)]


@pytest.mark.parametrize(("rank", "experts", "size"), [(2, 1.5, 3), (3, 1.5, 5), (4, 1.0, 4)])
def test_the_pool_has_as_many_experts_as_asked_and_the_connector_the_rank(
    rank: int, experts: float, size: int, tiny_llava: Any, recipe: Recipe
) -> None:
    model = MixLoRA(experts=experts).adapt(tiny_llava(), rank, replace(recipe, connector="lora"))

    adapters = list(lora_adapters(model))
    assert {len(adapter.a) for adapter in adapters if not adapter.in_connector} == {size}
    assert {len(adapter.a) for adapter in adapters if adapter.in_connector} == {rank}
    assert {adapter.scale for adapter in adapters} == {recipe.scale}


def test_everything_starts_as_released(tiny_llava: Any, recipe: Recipe) -> None:
    model = MixLoRA(condition="input_lora_a").adapt(tiny_llava(), 2, recipe)

    assert len(routers(model)) == 14
    for adapter in lora_adapters(model):
        bound = adapter.a.shape[1] ** -0.5
        assert not adapter.b.any()
        assert 0.5 * bound < adapter.a.abs().max() <= bound
    for router in routers(model):
        for value in router.parameters():
            bound = value.shape[-1] ** -0.5
            assert 0.5 * bound < value.abs().max() <= bound
        assert [tuple(value.shape)[:-1] for value in router.parameters()] == [(3,), (3,), (2, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["input", "input_lora_a"])
@pytest.mark.parametrize("scores", [True, False])
def test_the_selectors_learn_only_if_scores_weight_the_pairs(
    condition: str, scores: bool, tiny_llava: Any, recipe: Recipe, train: Any
) -> None:
    base = tiny_llava()
    torch.manual_seed(1)  # as train does
    start = MixLoRA(condition=condition, scores=scores).adapt(base, 2, recipe).state_dict()

    end = train(MixLoRA(condition=condition, scores=scores), tiny_llava(), recipe).state_dict()

    names = [name for name in start if name.rpartition(".")[2] in SELECTORS]
    assert len(names) == (42 if condition == "input_lora_a" else 28)
    assert {torch.equal(start[name], end[name]) for name in names} == {not scores}


def test_an_example_trains_only_the_experts_that_it_chose(tiny_llava: Any, tiny_batch: Any, recipe: Recipe) -> None:
    model = MixLoRA(experts=4.0, scores=False).adapt(tiny_llava(), 2, recipe).train()
    batch = {name: value[:1] for name, value in tiny_batch().items()}

    model(**batch, use_cache=False).loss.backward()

    for adapter in lora_adapters(model):
        if not adapter.in_connector:
            assert adapter.b.grad is not None
            assert int((adapter.b.grad.abs().sum(dim=0) > 0).sum()) == 2


@pytest.mark.slow
def test_the_reference_of_a_step_is_the_base_model_and_leaves_the_selectors_as_they_are(
    tiny_llava: Any, tiny_batch: Any, recipe: Recipe, train: Any
) -> None:
    plain = tiny_llava().eval()
    model = train(MixLoRA(scores=False), tiny_llava(), recipe).eval()
    batch = tiny_batch()

    with torch.no_grad(), model.disable_adapter():
        found = model(**batch, use_cache=False).logits

    with torch.no_grad():
        assert torch.equal(found, plain(**batch, use_cache=False).logits)
    assert not any(value.requires_grad for router in routers(model) for value in router.parameters())
    assert all(adapter.a.requires_grad for adapter in lora_adapters(model))


@pytest.mark.slow
def test_gradient_checkpointing_chooses_the_same_and_learns_the_same() -> None:
    recipe = replace(RECIPE, updates=3)
    changes = [
        fit(MixLoRA(condition="input_lora_a"), 2, 0, recipe, tiny().train, plain_blocks=plain).change
        for plain in (None, 0)
    ]

    assert unequal(*changes) == []


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["input", "input_lora_a"])
def test_one_batch_of_32_and_four_of_8_learn_the_same(condition: str) -> None:
    recipe = replace(RECIPE, updates=3, batch_size=32, dropout=0.0)
    one, four = (
        fit(MixLoRA(condition=condition), 2, 0, recipe, tiny().train, micro_batch=MicroBatchSize(size)).change
        for size in (None, 8)
    )

    for name, delta in one.items():
        for part, tensor in delta.tensors().items():
            torch.testing.assert_close(four[name].tensors()[part], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("connector", ["full", "lora", "frozen"])
@pytest.mark.parametrize("condition", ["input", "input_lora_a"])
@pytest.mark.parametrize("scores", [True, False])
def test_the_held_change_is_the_live_model(connector: Any, condition: str, scores: bool) -> None:
    bench = tiny()
    watched = Watched(inner=MixLoRA(condition=condition, scores=scores))
    change = learn(watched, bench, recipe=replace(RECIPE, connector=connector))
    batch = {name: value for name, value in bench.batch().items() if name != "labels"}

    with torch.no_grad():
        wanted = watched.model.eval()(**batch, use_cache=False).logits
        with bench.base.holding(change) as model:
            found = model(**batch, use_cache=False).logits
        untouched = bench.base.model(**batch, use_cache=False).logits

    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert (found - untouched).abs().max() > 1e-2


@pytest.mark.slow
def test_more_or_other_experts_and_choices_give_other_logits() -> None:
    bench = tiny()
    recipe = replace(RECIPE, updates=20)
    kinds = [MixLoRA(), MixLoRA(scores=False), MixLoRA(condition="input_lora_a"), MixLoRA(experts=4.0)]

    said = []
    for method in kinds:
        change = learn(method, bench, recipe=recipe)
        assert change.live
        with bench.base.holding(change) as model:
            said.append(logits(model, bench))

    for other in said[1:]:
        assert (other - said[0]).abs().max() > 1e-3


@pytest.mark.parametrize("edit", [DARE(target="delta"), DARE(), Rewind(), ModelTailor(n_samples=2, blocksize=16)])
def test_an_edit_that_needs_a_change_of_weights_is_refused_by_the_kind(edit: Any) -> None:
    bench = tiny()
    change = learn(MixLoRA(), bench, recipe=replace(RECIPE, updates=1, connector="frozen"))
    layers = {name: bench_layer(bench, name) for name in change}
    context = EditContext(torch.Generator(), layers, lambda count: [], lambda block, given, count: inputs(layers))

    with pytest.raises(PluginError, match=r"routed change of a weight \[32, 32\] cannot be merged"):
        edit.edit(Change({NAME: change[NAME]}), replace(context, layers={NAME: layers[NAME]}))


def bench_layer(bench: Any, name: str) -> Any:
    from bench import Layer

    return Layer(name, bench.base.model.get_parameter(name))


def inputs(layers: Any) -> dict[str, torch.Tensor]:
    return {name: torch.ones(3, layer.weight.shape[1]) for name, layer in layers.items()}


@pytest.mark.parametrize("condition", ["input", "input_lora_a"])
@pytest.mark.parametrize("scores", [True, False])
@pytest.mark.parametrize("connector", ["full", "lora"])
def test_the_declared_bytes_are_those_of_the_change(condition: str, scores: bool, connector: Any) -> None:
    from bench.prepare.price.memory import change_bytes

    bench, recipe = tiny(), replace(RECIPE, updates=1, connector=connector)
    method = MixLoRA(condition=condition, scores=scores)
    fitted = fit(method, 2, 0, recipe, bench.train)
    weights = bench.base.pristine
    names = [name for name, delta in fitted.change.items() if delta.kind != "replaced"]
    sides = {name: (weights[name].shape[0], weights[name].shape[1]) for name in names}
    shapes = tuple(LayerShape(name, *sides[name], None if "projector" in name else 0) for name in names)
    tuned = sum(weights[name].numel() for name in fitted.change if name not in names)

    sizes = Dimensions(shapes, tuned, 2, 10)

    assert change_bytes(method, None, sizes, fitted.trainable_parameters) == fitted.change.bytes
    selectors = sum(
        4 * tensor.numel()
        for delta in fitted.change.values()
        for part, tensor in delta.tensors().items()
        if part in SELECTORS
    )
    assert method.memory(sizes) == ({} if scores else {"selectors": selectors})


def test_settings_out_of_range_are_refused() -> None:
    from bench.plugins.hyperparameters import check, ranges

    with pytest.raises(UsageError, match=r"experts"):
        check("mixlora.experts", 0.5, ranges(MixLoRA)["experts"])


def test_a_change_says_what_it_is() -> None:
    change = learn(MixLoRA(decode="token", scores=False), recipe=replace(RECIPE, updates=1))

    delta = change[NAME]
    assert isinstance(delta, Routed)
    assert delta.settings() == {"scale": 2.0, "select_ab": None, "rank": 2, "scores": False, "freeze": False}
