from __future__ import annotations

from typing import Any

import pytest
import torch

from bench import Change, Decomposed, Delta, Dense, EditContext, Layer, LowRank, PluginError, Replaced, Sparse
from bench.methods.rewind import Rewind

NAME = "model.language_model.layers.0.self_attn.q_proj.weight"


def context(weight: torch.Tensor | None = None) -> EditContext:
    def unused(*_: Any) -> Any:
        raise AssertionError("no data is needed")

    layers = {} if weight is None else {NAME: Layer(NAME, weight)}
    return EditContext(torch.Generator(), layers, unused, unused)


BASE = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
DELTAS = {
    "low rank": LowRank(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, -1.0]]), 2.0),
    "decomposed": Decomposed(
        torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0, -4.0]]), 1.0, magnitude=torch.tensor([5.0, 2.0])
    ),
    "dense": Dense(torch.tensor([[1.0, 0.0], [0.0, -1.0]])),
    "sparse": Sparse.of(torch.tensor([[1.0, 0.0], [0.0, -1.0]]), torch.tensor([[True, False], [False, True]])),
    "replaced": Replaced(torch.tensor([[5.0, 5.0], [5.0, 5.0]])),
}


@pytest.mark.parametrize("delta", DELTAS.values(), ids=DELTAS.keys())
@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_the_changed_weight_lies_on_the_line_from_the_original(delta: Delta, strength: float) -> None:
    edited = Rewind(strength=strength).edit(Change({NAME: delta}), context(BASE))

    expected = BASE + strength * (delta.merged(BASE) - BASE)
    torch.testing.assert_close(edited[NAME].merged(BASE), expected)


def test_half_of_a_worked_example() -> None:
    # DoRA: row 1 of W0 is (3, 4), its direction (3, 0) at magnitude 5 gives (5, 0); half-way (4, 2)
    edited = Rewind(strength=0.5).edit(Change({NAME: DELTAS["decomposed"]}), context(BASE))

    assert edited[NAME].merged(BASE).tolist() == [[4.0, 2.0], [0.0, 2.0]]


def test_full_strength_is_the_change_itself() -> None:
    change = Change({NAME: DELTAS["dense"]})

    assert Rewind(**Rewind.off).edit(change, context()) is change


def test_what_is_needed_and_not_there_is_named() -> None:
    with pytest.raises(PluginError, match="needs the original"):
        Rewind(strength=0.5).edit(Change({NAME: DELTAS["replaced"]}), context())
