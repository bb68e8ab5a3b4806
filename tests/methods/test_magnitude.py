from __future__ import annotations

from typing import Any

import torch

from bench import Change, EditContext, Layer, LowRank, Replaced, Sparse
from bench.methods.magnitude import Magnitude, largest

NAME, CONNECTOR = "model.language_model.layers.0.self_attn.q_proj.weight", "model.multi_modal_projector.linear_1.weight"


def context() -> EditContext:
    def unused(*_: Any) -> Any:
        raise AssertionError("no data is needed")

    return EditContext(torch.Generator(), {NAME: Layer(NAME, torch.zeros(2, 2))}, unused, unused)


def learnt() -> Change:
    # scale * B A = [[6, -2], [12, -4]]
    delta = LowRank(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, -1.0]]), 2.0)
    return Change({NAME: delta, CONNECTOR: Replaced(torch.ones(2, 2))})


def test_the_largest_entries_of_the_product_stay_and_are_not_scaled() -> None:
    edited = Magnitude(density=0.5).edit(learnt(), context())

    assert edited[NAME].merged(torch.zeros(2, 2)).tolist() == [[6.0, 0.0], [12.0, 0.0]]
    assert isinstance(edited[NAME], Sparse)


def test_the_count_is_rounded_down() -> None:
    assert largest(torch.tensor([[0.1, -0.4], [0.3, 0.2]]), 0.74).sum() == 2


def test_the_connector_is_left_alone() -> None:
    change = learnt()

    assert Magnitude(density=0.5).edit(change, context())[CONNECTOR] is change[CONNECTOR]


def test_everything_kept_is_the_change_itself() -> None:
    change = learnt()

    assert Magnitude(**Magnitude.off).edit(change, context()) is change
