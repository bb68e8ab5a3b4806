from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import LowRank, Replaced, lora_adapters
from bench.checks.runs import Watched, logits, unequal
from bench.checks.tiny import tiny
from bench.errors import PluginError
from bench.methods.dora import DoRA
from bench.methods.lora import LoRA
from bench.methods.slao import SLAO, orthonormal_rows, share, toward
from bench.model.adapters import tuned_connector
from bench.trial.fit import Fitted
from bench.trial.stages import FIRST, Stage
from tests.making.stage_runs import PLAIN, stage_after, train_stage, train_stages
from tests.making.stages_by_hand import connector_of, drawn, train_by_hand


@pytest.fixture(scope="module")
def third() -> Stage:
    """Stage 3, the first whose start needs what the stage before kept."""
    return stage_after(train_stages(SLAO, 2)[-1], SLAO(), 3)


def test_a_worked_example_of_the_start_of_a() -> None:
    a = torch.tensor([[3.0, 4.0, 0.0], [1.0, 2.0, 2.0]], dtype=torch.float64)

    rows = orthonormal_rows(a)

    expected = [[0.6, 0.8, 0.0], [-0.15689291, 0.11766968, 0.98058068]]
    torch.testing.assert_close(rows, torch.tensor(expected, dtype=torch.float64), atol=1e-8, rtol=0.0)


def test_a_worked_example_of_the_merged_b() -> None:
    first, second, third = (torch.tensor(value, dtype=torch.float64) for value in ([1.0, 2.0], [3.0, 0.0], [0.0, 6.0]))

    after_two = toward(first, second, share("sqrt", 2))
    after_three = toward(after_two, third, share("sqrt", 3))

    assert after_two.tolist() == pytest.approx([2.41421356, 0.58578644], abs=1e-8)
    assert after_three.tolist() == pytest.approx([1.02036671, 3.71168410], abs=1e-8)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("sqrt", [1.0, 0.70710678, 0.57735027]), ("linear", [1.0, 0.5, 0.33333333]), ("constant", [1.0, 1.0, 1.0])],
)
def test_the_share_of_a_stage_follows_the_schedule(schedule: str, expected: list[float]) -> None:
    assert [share(schedule, stage) for stage in (1, 2, 3)] == pytest.approx(expected, abs=1e-8)


def test_an_a_without_full_rank_gets_orthonormal_rows_too() -> None:
    rows = orthonormal_rows(torch.tensor([[2.0, 0.0, 0.0], [4.0, 0.0, 0.0]]))

    torch.testing.assert_close(rows @ rows.T, torch.eye(2))
    assert rows[0].tolist() == [1.0, 0.0, 0.0]


def test_more_ranks_than_inputs_leave_rows_of_zeros() -> None:
    rows = orthonormal_rows(torch.tensor([[2.0, 0.0], [1.0, -3.0], [5.0, 5.0]]))

    torch.testing.assert_close(rows, torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.0, 0.0]]))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"schedule": "linear"}, {"connector": "latest"}, SLAO.off])
def test_stage_1_is_lora_bit_for_bit_and_keeps_nothing(settings: dict[str, Any]) -> None:
    plain, ours = train_stage(LoRA(), FIRST), train_stage(SLAO(**settings), FIRST)

    assert unequal(ours.change, plain.change) == []
    assert ours.losses == plain.losses
    assert ours.handover.kept == {}


@pytest.mark.slow
@pytest.mark.parametrize("connector", ["full", "lora"])
def test_off_is_loras_chain_of_stages_bit_for_bit(connector: Any) -> None:
    recipe = replace(PLAIN, connector=connector)
    plain = train_stages(LoRA, 3, recipe)

    off = train_stages(lambda: SLAO(**SLAO.off), 3, recipe)

    for mine, theirs in zip(off, plain, strict=True):
        assert unequal(mine.change, theirs.change) == []
        assert mine.losses == theirs.losses
        assert mine.handover.kept == {}


def gram_schmidt(a: Tensor) -> Tensor:
    rows: list[Tensor] = []
    for row in a.double():
        for done in rows:
            row = row - (row @ done) * done
        rows.append(row / row.norm())
    return torch.stack(rows).float()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "weights"),
    [({}, [2**-0.5, 3**-0.5]), ({"schedule": "linear", "connector": "latest", "init_a": "previous"}, [1 / 2, 1 / 3])],
    ids=["defaults", "other choices"],
)
def test_three_stages_are_those_of_the_equations(settings: dict[str, Any], weights: list[float]) -> None:
    fitted = train_stages(lambda: SLAO(**settings), 3)
    bench = tiny()
    layers, connector = drawn(bench, PLAIN), connector_of(bench)
    train_by_hand(bench, FIRST, PLAIN, layers, connector)
    merged = {name: layer.b.clone() for name, layer in layers.items()}
    average = {name: value.clone() for name, value in connector.items()}
    is_latest = settings.get("connector") == "latest"

    for number, weight in enumerate(weights, 2):
        if settings.get("init_a") != "previous":
            for layer in layers.values():
                layer.a = gram_schmidt(layer.a)
        train_by_hand(bench, Stage(("",) * number), PLAIN, layers, connector)
        for name, layer in layers.items():
            merged[name] = (1 - weight) * merged[name] + weight * layer.b
        for name, value in connector.items():
            average[name] = value.clone() if is_latest else (1 - weight) * average[name] + weight * value
        change = fitted[number - 1].change
        assert set(change) == {*layers, *connector}
        for name, layer in layers.items():
            torch.testing.assert_close(change[name].tensors(), {"b": merged[name], "a": layer.a}, atol=1e-4, rtol=1e-3)
        for name, value in average.items():
            torch.testing.assert_close(change[name].tensors()["value"], value, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_a_stage_leaves_the_merged_factors_and_keeps_what_it_has_trained(third: Stage) -> None:
    bench, watched = tiny(), Watched(inner=SLAO())

    fitted = train_stage(watched, third, bench)

    live = {adapter.name: adapter for adapter in lora_adapters(watched.model)}
    kept = fitted.handover.kept
    assert {*kept} == {*fitted.change}
    with torch.no_grad():
        for name, adapter in live.items():
            delta = fitted.change[name]
            assert isinstance(delta, LowRank)
            assert torch.equal(adapter.b, kept[name])
            assert torch.equal(adapter.a, delta.a)
            assert not torch.equal(delta.b, kept[name])
            adapter.b.copy_(delta.b)
        for name, parameter in tuned_connector(watched.model).items():
            delta = fitted.change[name]
            assert isinstance(delta, Replaced)
            assert torch.equal(parameter, kept[name])
            parameter.copy_(delta.value)
    wanted = logits(watched.model, bench)
    with bench.base.holding(fitted.change) as model:
        torch.testing.assert_close(logits(model, bench), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (lambda: train_stage(DoRA(), FIRST), "left a decomposed change"),
        (lambda: train_stage(SLAO(), FIRST, recipe=replace(PLAIN, scale=4.0)), "scale"),
    ],
    ids=["other factors", "other scale"],
)
def test_a_change_that_cannot_be_continued_is_refused(before: Callable[[], Fitted], reason: str) -> None:
    with pytest.raises(PluginError, match=reason):
        train_stage(SLAO(), stage_after(before(), SLAO(), 2))
