from __future__ import annotations

from typing import Any

import pytest
import torch

from bench import Change, Decomposed, EditContext, Layer, LowRank, PluginError, Replaced, Sparse
from bench.methods.dare import DARE, dropped

NAME = "model.language_model.layers.0.self_attn.q_proj.weight"
CONNECTOR = "model.multi_modal_projector.linear_1.weight"


def context(layers: dict[str, torch.Tensor] | None = None, seed: int = 0) -> EditContext:
    def unused(*_: Any) -> Any:
        raise AssertionError("DARE needs no data")

    known = {name: Layer(name, weight) for name, weight in (layers or {}).items()}
    return EditContext(torch.Generator().manual_seed(seed), known, unused, unused)


def learnt(rank: int = 4, width: int = 32) -> Change:
    torch.manual_seed(1)
    return Change(
        {
            NAME: LowRank(torch.randn(width, rank), torch.randn(rank, width), 2.0),
            CONNECTOR: Replaced(torch.randn(8, 8)),
        }
    )


def test_what_is_kept_is_scaled_up() -> None:
    delta, keep = torch.tensor([2.0, 4.0]), torch.tensor([True, False])

    assert dropped(delta, keep, 0.5).tolist() == [4.0, 0.0]
    assert dropped(delta, keep, 0.0).tolist() == [2.0, 0.0]


def test_switched_off_it_returns_the_change_itself() -> None:
    change = learnt()

    assert DARE(**DARE.off).edit(change, context()) is change


@pytest.mark.slow
@pytest.mark.parametrize("target", ["factors", "delta"])
def test_the_expectation_is_the_change(target: str) -> None:
    delta = LowRank(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, -1.0]]), 1.0)
    shared = context()
    method = DARE(drop_rate=0.5, target=target)
    total, draws = torch.zeros(2, 2), 10_000

    for _ in range(draws):
        total += method.edit(Change({NAME: delta}), shared)[NAME].merged(torch.zeros(2, 2))

    # the standard error of a mean of 10,000 draws is 1 % (delta) or 1.7 % (factors) of each entry
    torch.testing.assert_close(total / draws, delta.product(), rtol=0.08, atol=0.0)


def test_on_factors_the_result_stays_a_lora_and_the_share_kept_is_as_asked() -> None:
    change = learnt(width=512)

    edited = DARE(drop_rate=0.3).edit(change, context())[NAME]

    assert isinstance(edited, LowRank)
    for factor, original in (
        (edited.a, change[NAME].tensors()["a"]),
        (edited.b, change[NAME].tensors()["b"]),
    ):
        kept = factor != 0
        assert kept.float().mean().item() == pytest.approx(0.7, abs=0.04)
        torch.testing.assert_close(factor[kept], original[kept] / 0.7)


def test_on_the_delta_the_result_is_sparse_for_lora_and_for_dora() -> None:
    base = torch.randn(32, 32)
    low = learnt()[NAME]
    assert isinstance(low, LowRank)
    tuned = Decomposed(low.b, low.a, low.scale, base.norm(dim=1))

    for delta in (low, tuned):
        edited = DARE(drop_rate=0.5, target="delta").edit(Change({NAME: delta}), context({NAME: base}))[NAME]

        assert isinstance(edited, Sparse)
        kept = edited.keep(base.shape)
        expected = base + 2 * (delta.merged(base) - base) * kept
        torch.testing.assert_close(edited.merged(base), expected, rtol=1e-4, atol=1e-4)


def test_the_connector_is_left_alone_unless_asked_for() -> None:
    change, original = learnt(), torch.randn(8, 8)
    method = DARE(drop_rate=0.5, include_connector=True)

    assert DARE(drop_rate=0.5).edit(change, context())[CONNECTOR] is change[CONNECTOR]
    edited = method.edit(change, context({CONNECTOR: original}))[CONNECTOR].merged(original)
    assert 0.2 < (edited == original).float().mean().item() < 0.8
    with pytest.raises(PluginError, match="needs the original"):
        method.edit(change, context())


def test_only_the_contexts_generator_counts_and_not_the_order_of_the_change() -> None:
    change = learnt()
    turned = Change({name: change[name] for name in reversed(list(change))})

    torch.manual_seed(3)
    first = DARE(include_connector=False).edit(change, context())[NAME].tensors()
    torch.manual_seed(4)
    second = DARE(include_connector=False).edit(turned, context())[NAME].tensors()
    other = DARE().edit(change, context(seed=1))[NAME].tensors()

    assert all(torch.equal(first[part], second[part]) for part in first)
    assert not torch.equal(first["a"], other["a"])


def test_a_drop_rate_of_one_drops_all_and_divides_by_nothing() -> None:
    edited = DARE(drop_rate=1.0).edit(learnt(), context())[NAME].tensors()

    assert not edited["a"].any()
    assert not edited["b"].any()
