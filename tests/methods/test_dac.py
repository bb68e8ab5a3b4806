from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench import LowRank, Recipe, lora_adapters
from bench.methods.dac import DAC, chosen, kept
from bench.methods.lora import LoRA

NAME = "model.language_model.layers.0.self_attn.q_proj.weight"


def test_a_worked_example_of_the_kept_ranks() -> None:
    a, b = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]])

    merged = kept(LowRank(b, a, 2.0), torch.tensor([5.0, 9.0, 7.0]), 2)

    assert len(merged.a) == 2
    assert merged.product().tolist() == [[6.0, 10.0], [-2.0, 0.0]]


def test_a_worked_example_of_the_votes() -> None:
    votes = chosen(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]), 2).sum(dim=0)

    assert votes.tolist() == [1, 2, 1]


def test_of_equal_scores_the_first_are_chosen() -> None:
    assert chosen(torch.tensor([2.0, 1.0, 1.0, 1.0]), 2).tolist() == [True, True, False, False]


@pytest.mark.parametrize("guide", ["image_mean", "prompt_last"])
@pytest.mark.parametrize("select", ["sample", "batch"])
def test_each_example_votes_for_as_many_ranks_as_it_trains(
    guide: str, select: str, tiny_llava: Any, recipe: Recipe, train: Any
) -> None:
    method = DAC(active=0.5, merged=0.25, guide=guide, select=select)
    model = train(method, tiny_llava(), recipe, rank=4)

    decoder = [adapter for adapter in lora_adapters(model) if not adapter.in_connector]
    assert method.counts_.keys() == {adapter.name for adapter in decoder}
    for counts in method.counts_.values():
        assert counts.sum().item() == recipe.updates * recipe.batch_size * 2
    change = method.change(model)
    assert {len(change[adapter.name].tensors()["a"]) for adapter in decoder} == {1}


def test_an_example_trains_only_the_ranks_that_it_chose(tiny_llava: Any, tiny_batch: Any, recipe: Recipe) -> None:
    model = DAC(active=0.25).adapt(tiny_llava(), 4, recipe).train()
    batch = {name: value[:1] for name, value in tiny_batch().items()}

    model(**batch, use_cache=False).loss.backward()

    for adapter in lora_adapters(model):
        if not adapter.in_connector:
            assert adapter.b.grad is not None
            assert int((adapter.b.grad.abs().sum(dim=0) > 0).sum()) == 1


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`:FutureWarning")
def test_the_votes_do_not_depend_on_gradient_checkpointing(
    tiny_llava: Any, tiny_batch: Any, recipe: Recipe, step_of: Any
) -> None:
    counts = []
    for spare in (False, True):
        method, tree = DAC(), tiny_llava()
        model = method.adapt(tree, 4, recipe).train()
        if spare:
            tree.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        loss = model(**tiny_batch(), use_cache=False).loss
        step = replace(step_of(model), loss=loss, batch=tiny_batch())
        method.backward(step)
        method.on_gradients(step)
        counts.append(method.counts_)

    assert all(torch.equal(counts[0][name], counts[1][name]) for name in counts[0])


@pytest.mark.parametrize(("router", "learns"), [("random", False), ("straight_through", True)])
def test_only_a_straight_through_router_learns(
    router: str, learns: bool, tiny_llava: Any, recipe: Recipe, train: Any
) -> None:
    base = tiny_llava()
    torch.manual_seed(1)  # as train does
    start = DAC(router=router).adapt(base, 4, recipe).state_dict()

    end = train(DAC(router=router), tiny_llava(), recipe, rank=4).state_dict()

    moved = [not torch.equal(start[name], end[name]) for name in start if "router" in name]
    assert moved == [learns] * 14


def test_off_is_lora_bit_for_bit(tiny_llava: Any, recipe: Recipe, train: Any) -> None:
    plain = train(LoRA(), tiny_llava(), recipe).state_dict()
    off = train(DAC(**DAC.off), tiny_llava(), recipe).state_dict()

    assert plain.keys() == off.keys()
    assert all(torch.equal(plain[name], off[name]) for name in plain)
