from __future__ import annotations

from typing import Any

import pytest
import torch

from bench import Change, Decomposed, Delta, Dense, EditContext, Layer, LowRank, Replaced, Sparse
from bench.methods.lines import LiNeS, factor

BLOCK = "model.language_model.layers.{}.self_attn.q_proj.weight"
CONNECTOR = "model.multi_modal_projector.linear_1.weight"
BASE = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
LOW_RANK = LowRank(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, -1.0]]), 2.0)
DELTAS = {
    "low rank": LOW_RANK,
    "decomposed": Decomposed(LOW_RANK.b, LOW_RANK.a, 1.0, magnitude=torch.tensor([5.0, 2.0])),
    "dense": Dense(torch.tensor([[1.0, 0.0], [0.0, -1.0]])),
    "sparse": Sparse.of(torch.tensor([[1.0, 0.0], [0.0, -1.0]]), torch.tensor([[True, False], [False, True]])),
}


def context(blocks: int) -> EditContext:
    def unused(*_: Any) -> Any:
        raise AssertionError("LiNeS needs no data")

    names = [*map(BLOCK.format, range(blocks)), CONNECTOR]
    return EditContext(torch.Generator(), {name: Layer(name, BASE) for name in names}, unused, unused)


@pytest.mark.parametrize(
    ("blocks", "alpha", "expected"),
    [
        (4, 0.3, {0: 0.3, 1: 0.53333333, 2: 0.76666667, 3: 1.0}),
        (32, 0.2, {0: 0.2, 15: 0.58709677, 31: 1.0}),
        (1, 0.3, {0: 1.0}),
    ],
)
def test_the_factor_grows_from_alpha_to_1(blocks: int, alpha: float, expected: dict[int, float]) -> None:
    assert {block: factor(block, blocks, alpha) for block in expected} == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("delta", DELTAS.values(), ids=DELTAS.keys())
def test_the_change_of_a_block_is_scaled_by_its_factor(delta: Delta) -> None:
    change = Change({BLOCK.format(block): delta for block in range(4)})

    edited = LiNeS(alpha=0.3).edit(change, context(4))

    for block in range(4):
        scaled = BASE + factor(block, 4, 0.3) * (delta.merged(BASE) - BASE)
        torch.testing.assert_close(edited[BLOCK.format(block)].merged(BASE), scaled)


def test_the_blocks_are_counted_in_the_model_and_not_in_the_change() -> None:
    edited = LiNeS(alpha=0.3).edit(Change({BLOCK.format(1): LOW_RANK}), context(4))

    torch.testing.assert_close(edited[BLOCK.format(1)].merged(BASE) - BASE, 0.53333333 * LOW_RANK.product())


@pytest.mark.parametrize(("connector", "expected"), [("alpha", 0.3), ("keep", 1.0)])
def test_a_tuned_connector_is_scaled_by_alpha_or_kept(connector: str, expected: float) -> None:
    change = Change({CONNECTOR: Replaced(BASE + 1.0)})

    edited = LiNeS(alpha=0.3, connector=connector).edit(change, context(4))

    torch.testing.assert_close(edited[CONNECTOR].merged(BASE), BASE + expected)


def test_switched_off_it_returns_the_change_itself() -> None:
    change = Change({BLOCK.format(0): LOW_RANK})

    assert LiNeS(**LiNeS.off).edit(change, context(4)) is change
