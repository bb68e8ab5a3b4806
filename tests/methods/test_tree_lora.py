from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.checks.runs import Watched, logits, unequal
from bench.checks.tiny import tiny
from bench.methods.lora import LoRA
from bench.methods.tree_lora import TreeLoRA, bonus, branch, joined, pull, scores
from bench.model.change import LowRank, Replaced
from bench.trial.fit import Fitted
from bench.trial.stages import FIRST, Stage
from bench.trial.updates import seed_update
from tests.making.stage_runs import PLAIN, killed_and_resumed, stage_after, train_stage
from tests.making.stages_by_hand import descent, slopes, updates_of

PAST = [[torch.tensor([2.0, 1.0]), torch.tensor([1.0, 1.0])], [torch.tensor([-1.0, 1.0]), torch.tensor([0.0, 2.0])]]
RELEASED = {"source": "weights", "pick": "farthest", "draw": "multinomial", "norm": "log"}
SETTINGS = [{}, {"norm": "log"}, {"pick": "farthest", "draw": "multinomial"}, RELEASED]


def test_a_worked_example_of_the_pull() -> None:
    current = [torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([0.0, 1.0], requires_grad=True)]

    aligned = joined(current) @ joined([PAST[0][0], PAST[1][1]])
    term = pull(aligned, 0.5 * 3 / 10 * 2.0)
    term.backward()

    assert aligned.item() == 6.0
    assert term.item() == pytest.approx(-0.3)
    torch.testing.assert_close(current[0].grad, torch.tensor([-0.1, -0.05]))
    torch.testing.assert_close(current[1].grad, torch.tensor([0.0, -0.1]))


def test_a_negative_alignment_is_pulled_up_too() -> None:
    aligned = torch.tensor(-6.0, requires_grad=True)

    pull(aligned, 0.3).backward()

    assert aligned.grad is not None
    assert aligned.grad.item() == pytest.approx(-0.05)


def test_a_worked_example_of_the_bandit() -> None:
    current = [torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0])]
    distances = torch.tensor(
        [[(now - then).abs().sum() for now, then in zip(current, past, strict=True)] for past in PAST]
    )
    bonuses = bonus(torch.tensor([[3.0, 1.0], [1.0, 2.0]], dtype=torch.float64), 3, 10)

    assert distances.tolist() == [[2.0, 1.0], [3.0, 1.0]]
    torch.testing.assert_close(
        bonuses, torch.tensor([[0.99928763, 1.73081406], [1.73081406, 1.22387189]], dtype=torch.float64)
    )
    assert scores(distances, bonuses, "lcb").argmax(dim=0).tolist() == [0, 0]
    assert scores(distances, bonuses, "farthest").argmax(dim=0).tolist() == [1, 0]


def test_what_was_never_picked_comes_first() -> None:
    bonuses = bonus(torch.tensor([[1.0], [0.0]]), 0, 10)

    assert scores(torch.tensor([[0.1], [0.0]]), bonuses, "lcb").argmax().item() == 1


def test_the_tree_splits_at_the_median_of_the_first_layer() -> None:
    outer = [torch.tensor([value]) for value in (3.0, 1.0, 4.0, -1.0)]  # with their mean: 5.25, 1.75, 7, -1.75
    inner = [torch.tensor([value]) for value in (1.0, 2.0, 0.5, 9.0)]  # of the upper three: 1.17, 2.33, 0.58

    assert branch(1, outer, inner) == ([0, 1, 2], pytest.approx(7 / 6))
    assert branch(1, outer, [3 * vector for vector in inner]) == ([0, 1, 2], 1.5)
    assert branch(3, outer, inner) == ([3], 1.0)


def test_equal_tasks_are_halved_and_one_task_is_not_split() -> None:
    same = [torch.ones(2)] * 3

    assert branch(0, same, same) == ([0], 1.0)
    assert branch(2, same, same) == ([1, 2], 1.5)
    assert branch(0, same[:1], same[:1]) == ([0], 1.0)


@pytest.fixture(scope="module", params=SETTINGS, ids=str)
def stages(request: pytest.FixtureRequest) -> tuple[dict[str, Any], Stage, Fitted]:
    """The settings of a method, the third stage of a sequence, and what is learnt there."""
    settings, stage = request.param, FIRST
    for number in (2, 3):
        stage = stage_after(train_stage(TreeLoRA(**settings), stage), TreeLoRA(), number)
    return settings, stage, train_stage(TreeLoRA(**settings), stage)


@pytest.mark.slow
def test_a_third_stage_is_that_of_the_equations(stages: tuple[dict[str, Any], Stage, Fitted]) -> None:
    settings, stage, fitted = stages

    layers, connector, means = by_hand(stage, **{**{"reg": 0.5}, **defaults(), **settings})

    for name, (b, a) in layers.items():
        found = fitted.change[name].tensors()
        torch.testing.assert_close(found["b"], b, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(found["a"], a, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(fitted.handover.kept[f"3.{name}"], means[name], atol=1e-6, rtol=1e-3)
    for name, value in connector.items():
        torch.testing.assert_close(fitted.change[name].tensors()["value"], value, atol=2e-5, rtol=1e-4)
    assert len(fitted.handover.kept) == 3 * len(layers) == 3 * 14


@pytest.mark.slow
def test_the_pull_changes_what_is_learnt(stages: tuple[dict[str, Any], Stage, Fitted]) -> None:
    _, stage, fitted = stages

    assert unequal(train_stage(LoRA(), stage).change, fitted.change)


@pytest.mark.slow
def test_the_merged_change_equals_the_live_model(stages: tuple[dict[str, Any], Stage, Fitted]) -> None:
    settings, stage, _ = stages
    bench, watched = tiny(), Watched(inner=TreeLoRA(**settings))

    change = train_stage(watched, stage, bench).change
    live = logits(watched.model, bench)

    with bench.base.holding(change) as merged:
        torch.testing.assert_close(logits(merged, bench), live, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_smaller_micro_batches_learn_the_same(stages: tuple[dict[str, Any], Stage, Fitted]) -> None:
    settings, stage, whole = stages

    parts = train_stage(TreeLoRA(**settings), stage, recipe=replace(PLAIN, micro_batch_size=2))

    for name, delta in whole.change.items():
        for part, value in delta.tensors().items():
            torch.testing.assert_close(parts.change[name].tensors()[part], value, atol=2e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_resumed_stage_has_the_same_bytes(stages: tuple[dict[str, Any], Stage, Fitted], tmp_path: Path) -> None:
    settings, stage, unbroken = stages

    resumed = killed_and_resumed(lambda: TreeLoRA(**settings), stage, tmp_path)

    assert not unequal(unbroken.change, resumed.change)
    for name, value in unbroken.handover.kept.items():
        assert torch.equal(value, resumed.handover.kept[name])


@pytest.mark.slow
def test_the_first_stage_is_plain_lora() -> None:
    assert not unequal(train_stage(TreeLoRA()).change, train_stage(LoRA()).change)


@pytest.mark.slow
def test_off_is_loras_chain_bit_for_bit() -> None:
    plain, off = train_stage(LoRA()), train_stage(TreeLoRA(**TreeLoRA.off))

    after = train_stage(LoRA(), stage_after(plain, LoRA(), 2))
    also = train_stage(TreeLoRA(**TreeLoRA.off), stage_after(off, TreeLoRA(), 2))

    assert not unequal(plain.change, off.change)
    assert not unequal(after.change, also.change)
    assert also.handover.kept == {}


@pytest.mark.slow
def test_a_connectors_adapters_are_not_pulled() -> None:
    recipe = replace(PLAIN, connector="lora")
    first = train_stage(TreeLoRA(), recipe=recipe)

    second = train_stage(TreeLoRA(), stage_after(first, TreeLoRA(), 2), recipe=recipe)

    assert [name for name in second.handover.kept if "projector" in name] == []
    assert len(second.handover.kept) == 2 * 14


def defaults() -> dict[str, str]:
    method = TreeLoRA()
    return {name: getattr(method, name) for name in ("source", "pick", "draw", "norm")}


def by_hand(
    stage: Stage, *, reg: float, source: str, pick: str, draw: str, norm: str
) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, Tensor], dict[str, Tensor]]:
    """Train a later stage from the equations; return each layer's B and A, the connector, and the means."""
    bench, start = tiny(), stage.previous
    layers = {n: (d.b.clone(), d.a.clone()) for n, d in start.items() if isinstance(d, LowRank)}
    scale = next(delta.scale for delta in start.values() if isinstance(delta, LowRank))
    connector = {name: delta.value.clone() for name, delta in start.items() if isinstance(delta, Replaced)}
    past = [{n: stage.kept[f"{number}.{n}"] for n in layers} for number in range(1, len(stage.tasks))]
    step = descent([factor for pair in layers.values() for factor in pair], [*connector.values()], PLAIN)
    means = {name: torch.zeros_like(a) for name, (_, a) in layers.items()}
    measured: dict[tuple[int, str], list[float]] = {}
    for k, update in enumerate(updates_of(stage, bench, PLAIN)):
        weights = {name: bench.base.pristine[name] + scale * b @ a for name, (b, a) in layers.items()}
        batch = bench.lessons.training_batch(update.examples, PLAIN.max_length)
        loss, slope = slopes(bench, {**weights, **connector}, batch, update.target_tokens)
        for name, value in connector.items():
            value.grad = slope[name]
        for name, (b, a) in layers.items():
            b.grad, a.grad = scale * slope[name] @ a.T, scale * b.T @ slope[name]
            means[name] = (k * means[name] + (a.grad if source == "gradient" else a)) / (k + 1)
        picked = picks(measured, k, past, draw, pick, seed_update(stage.seed(0), k))
        for name, task in picked.items():
            measured.setdefault((task, name), []).append(float((means[name] - past[task][name]).abs().sum()))
        chosen = {name: past[task][name] for name, task in picked.items()}
        u = {name: start[name].tensors()["a"] - a if source == "gradient" else a for name, (_, a) in layers.items()}
        sign = -1 if source == "gradient" else 1
        for name, risen in rises(u, chosen, loss if norm == "log" else None).items() if k > 0 else ():
            gradient = layers[name][1].grad
            assert gradient is not None
            gradient -= reg * k / 6 * sign * risen
        step()
    return layers, connector, means


def rises(u: dict[str, Tensor], v: dict[str, Tensor], loss: float | None) -> dict[str, Tensor]:
    """Return the gradient in each u of loss * log |S|, or without a loss that of the cosine."""
    s = sum(float((u[name] * v[name]).sum()) for name in u)
    long, wide = (math.sqrt(sum(float(vector.square().sum()) for vector in vectors.values())) for vectors in (u, v))
    if loss is not None:
        return {name: loss / abs(s) * v[name] for name in u}
    return {name: v[name] / (long * wide) - s * u[name] / (long**3 * wide) for name in u}


def picks(
    measured: dict[tuple[int, str], list[float]],
    k: int,
    past: list[dict[str, Tensor]],
    draw: str,
    pick: str,
    generator: torch.Generator,
) -> dict[str, int]:
    """Return the task of each layer."""
    names, preferred = list(past[0]), torch.zeros(len(past), len(past[0]), dtype=torch.float64)
    for task in range(len(past)):
        for place, name in enumerate(names):
            known = measured.get((task, name), [])
            mean = sum(known) / len(known) if known else 0.0
            extra = math.sqrt(math.log(2 * 6 * (k + 1) * (k + 2))) / math.sqrt(2 * len(known) + 1e-5)
            preferred[task, place] = extra - mean if pick == "lcb" else extra + mean
    if draw == "argmin":
        return {name: int(preferred[:, place].argmax()) for place, name in enumerate(names)}
    preferred += preferred.min()  # and the branches of two earlier tasks are leaves, which multiply by 1
    torch.multinomial(preferred.sum(dim=1).softmax(dim=0), 1, generator=generator)
    shares = (preferred / (preferred.max() - preferred.min() + 1e-5)).softmax(dim=0)
    return dict(zip(names, torch.multinomial(shares.T, 1, generator=generator).flatten().tolist(), strict=True))
