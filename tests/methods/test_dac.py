from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from bench import LowRank, Recipe, lora_adapters
from bench.checks.runs import Watched, logits, unequal
from bench.checks.tiny import RANK, tiny
from bench.methods.dac import DAC
from bench.methods.lora import LoRA
from bench.methods.rank_pool import chosen, kept, overlap
from bench.trial.fit import Fitted, fit
from bench.trial.stages import FIRST
from tests.making.hand_loop import train_by_hand
from tests.making.stage_runs import PLAIN, killed_and_resumed, stage_after, train_stage, train_stages

NAME = "model.language_model.layers.0.self_attn.q_proj.weight"
FROZEN = replace(PLAIN, connector="frozen")


@dataclass(kw_only=True)
class Folding(LoRA):  # type: ignore[misc]
    """LoRA that trains new factors on the merged change of the earlier stages."""

    name: ClassVar[str] = "folding"
    folds: ClassVar[bool] = True


def dac(**settings: Any) -> DAC:
    """Return the method with pools of which each example trains half and half are merged."""
    return DAC(active=0.5, merged=0.5, **settings)


def test_a_worked_example_of_the_kept_ranks() -> None:
    a, b = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]])

    merged = kept(LowRank(b, a, 2.0), chosen(torch.tensor([5.0, 9.0, 7.0]), 2))

    assert len(merged.a) == 2
    assert merged.product().tolist() == [[6.0, 10.0], [-2.0, 0.0]]


def test_a_worked_example_of_the_votes() -> None:
    votes = chosen(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]), 2).sum(dim=0)

    assert votes.tolist() == [1, 2, 1]


@pytest.mark.parametrize(("form", "expected"), [("abs_sum", 9.0), ("mean", 1.25), ("abs_mean", 2.25)])
def test_a_worked_example_of_the_overlap_with_earlier_tasks(form: str, expected: float) -> None:
    past, now = torch.tensor([[1.0, 0.0], [1.0, 2.0]]), torch.tensor([[2.0, 3.0], [1.0, -1.0]])

    assert overlap(past, now, form).item() == expected


def test_of_equal_scores_the_first_are_chosen() -> None:
    assert chosen(torch.tensor([2.0, 1.0, 1.0, 1.0]), 2).tolist() == [True, True, False, False]


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_off_is_lora_bit_for_bit(tiny_llava: Any, recipe: Recipe, train: Any) -> None:
    plain = train(LoRA(), tiny_llava(), recipe).state_dict()
    off = train(DAC(**DAC.off), tiny_llava(), recipe).state_dict()

    assert plain.keys() == off.keys()
    assert all(torch.equal(plain[name], off[name]) for name in plain)


@pytest.mark.slow
def test_one_target_gives_the_numbers_that_it_gave_before_there_were_sequences() -> None:
    method = DAC()

    fitted = fit(method, 4, 0, PLAIN, tiny().lessons)

    votes = [[int(count) for count in counts] for counts in method.counts_.values()]
    assert votes[:4] == [[24, 48, 38, 34], [48, 48, 48, 0], [48, 10, 38, 48], [37, 48, 35, 24]]
    assert fitted.losses == pytest.approx([3.861785, 3.684594, 3.419349, 3.531009, 2.863137, 3.158922], rel=1e-5)
    norms = [float(delta.product().norm()) for delta in fitted.change.values() if isinstance(delta, LowRank)]
    assert sum(norms) == pytest.approx(3.423308, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"coefficient": 0.0}, {"coefficient": 10.0}, {"ago": "mean"}])
def test_in_stage_1_nothing_depends_on_what_keeps_tasks_apart(settings: Any) -> None:
    plain, other = train_stage(DAC(), FIRST), train_stage(DAC(**settings), FIRST)

    assert not unequal(plain.change, other.change)
    assert plain.losses == other.losses


def literal(first: Fitted, method: DAC, past: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Train a stage after ``first`` from the equations; return B, A and the votes of each layer."""
    bench, stage = tiny(), stage_after(first, method, 2)
    config: Any = bench.base.model.config
    torch.manual_seed(stage.seed(0))
    model = method.adapt(bench.base.tree(), RANK, FROZEN)  # for the random start of A and R
    layers: dict[str, tuple[Tensor, Tensor]] = {item.name: (item.b, item.a) for item in lora_adapters(model)}
    routers = [value for name, value in model.named_parameters() if name.endswith("router.weight")]
    choosers = dict(zip(layers, routers, strict=True))
    counts = {name: [0] * RANK for name in layers}
    pending: list[tuple[str, int]] = []

    def effect(name: str, x: Tensor, ids: Tensor) -> Tensor:
        b, a = layers[name]
        outputs = []
        for row, tokens in zip(x, ids, strict=True):
            mean = row[tokens == config.image_token_id].detach().mean(dim=0)
            best = int((choosers[name] @ mean).argmax())
            pending.append((name, best))
            outputs.append(2.0 * (row @ a[best]).outer(b[:, best]))
        return torch.stack(outputs)

    def current(name: str) -> Tensor:
        return layers[name][0][:, counts[name].index(max(counts[name]))]

    def penalty() -> Tensor:
        sums = []
        for name in layers:
            products = past[name].T @ current(name)
            sums.append(products.sum() / len(products) if method.ago == "mean" else products.abs().sum())
        for name, best in pending:
            counts[name][best] += 1
        pending.clear()
        value: Tensor = method.coefficient * torch.stack(sums).mean()
        return value

    with stage.folded(bench.lessons):
        train_by_hand(bench, stage, FROZEN, layers, effect, penalty)
    return {name: (b.detach(), a.detach(), torch.tensor(counts[name])) for name, (b, a) in layers.items()}


@pytest.mark.slow
@pytest.mark.parametrize("ago", ["abs_sum", "mean"])
def test_the_second_stage_is_that_of_the_equations(ago: str) -> None:
    def make() -> DAC:
        return dac(coefficient=3.0, ago=ago)

    first, second = train_stages(make, 2, FROZEN)

    past = {name: delta.b for name, delta in first.change.items() if isinstance(delta, LowRank)}
    for name, (b, a, counts) in literal(first, make(), past).items():
        best = int(counts.argmax())
        own, before, whole = second.handover.own, first.change[name], second.change[name]
        assert own is not None
        torch.testing.assert_close(own[name].tensors()["b"], b[:, [best]], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(own[name].tensors()["a"], a[[best]], rtol=1e-3, atol=1e-5)
        assert isinstance(before, LowRank)
        assert isinstance(whole, LowRank)
        expected = before.product() + 2.0 * b[:, best].outer(a[best])
        torch.testing.assert_close(whole.product(), expected, rtol=1e-3, atol=1e-5)
        assert torch.equal(second.handover.kept[name], torch.cat([past[name], own[name].tensors()["b"]], dim=1))


@pytest.mark.slow
def test_a_third_stage_keeps_clear_of_both_earlier_ones() -> None:
    first, second, third = train_stages(lambda: dac(coefficient=3.0), 3)

    for name, columns in third.handover.kept.items():
        assert columns.shape[1] == 3
        assert torch.equal(columns[:, :2], second.handover.kept[name])
        assert torch.equal(columns[:, :1], first.handover.kept[name])


@pytest.mark.slow
def test_the_model_of_the_second_stage_equals_its_merged_change() -> None:
    first = train_stage(dac(), FIRST)
    bench, watched = tiny(), Watched(inner=dac())
    stage = stage_after(first, watched.inner, 2)

    second = train_stage(watched, stage, bench)

    with bench.base.holding(first.change):
        live = logits(watched.model, bench)
    with bench.base.holding(second.change) as merged:
        torch.testing.assert_close(logits(merged, bench), live, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_second_stage_that_was_stopped_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    def make() -> DAC:
        return dac(coefficient=3.0)

    stage = stage_after(train_stage(make(), FIRST), make(), 2)
    unbroken = train_stage(make(), stage)

    resumed = killed_and_resumed(make, stage, tmp_path)

    assert not unequal(resumed.change, unbroken.change)
    assert resumed.losses == unbroken.losses
    for name, columns in unbroken.handover.kept.items():
        assert torch.equal(columns, resumed.handover.kept[name])


@pytest.mark.slow
def test_a_second_stage_does_not_depend_on_the_micro_batches() -> None:
    stage = stage_after(train_stage(dac(), FIRST), dac(), 2)
    gradients, votes = [], []
    for size in (None, 2):
        method = dac(coefficient=3.0)
        watched = Watched(inner=method, shake=0.02)
        train_stage(watched, stage, recipe=replace(PLAIN, updates=3, micro_batch_size=size))
        gradients.append(watched.gradients)
        votes.append(method.counts_)

    assert all(torch.equal(counts, votes[1][name]) for name, counts in votes[0].items())
    for whole, parts in zip(*gradients, strict=True):
        for name, gradient in whole.items():
            torch.testing.assert_close(gradient, parts[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_off_in_a_chain_is_lora_on_merged_stages_bit_for_bit() -> None:
    plain, off = (train_stages(make, 2) for make in (Folding, lambda: DAC(**DAC.off)))

    assert not unequal(plain[1].change, off[1].change)
    assert not off[1].handover.kept
