from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench import Change, Decomposed, Dense, EditContext, Layer, LowRank, Replaced, Sparse
from bench.methods.rewind import Rewind


def test_one_change_is_always_the_same_bytes(tmp_path: Path) -> None:
    change = Change(
        {
            "a.weight": LowRank(torch.ones(3, 2), torch.ones(2, 4), 2.0),
            "model.connector.linear.bias": Replaced(torch.ones(3)),
        }
    )

    for number in range(8):  # safetensors draws the order of its metadata anew each time
        change.save(tmp_path / str(number))

    files = {(tmp_path / str(number) / "adapter_model.safetensors").read_bytes() for number in range(8)}
    assert len(files) == 1


def test_a_change_goes_whole_to_the_device_it_is_merged_on() -> None:
    b, a, vector = torch.ones(4, 2), torch.ones(2, 8), torch.ones(4)
    kept = torch.arange(32).view(4, 8) % 3 == 0
    deltas = (LowRank(b, a, 2.0), Decomposed(b, a, 2.0, vector), Dense(b @ a), Sparse.of(b @ a, kept), Replaced(b @ a))
    weight, elsewhere = torch.full((4, 8), 0.5), torch.device("meta")

    for delta in deltas:
        moved = delta.on(elsewhere)
        assert {tensor.device for tensor in moved.tensors().values()} == {elsewhere}
        assert getattr(moved, "scale", None) == getattr(delta, "scale", None)
        assert torch.equal(delta.on(weight.device).merged(weight), delta.merged(weight))


@pytest.mark.parametrize("kind", ["low_rank", "decomposed", "dense", "replaced"])
def test_a_change_is_merged_where_the_weight_lies(kind: str) -> None:
    b, a, dense = torch.ones(4, 2), torch.ones(2, 8), torch.ones(4, 8)
    deltas = (LowRank(b, a, 2.0), Decomposed(b, a, 2.0, torch.ones(4)), Dense(dense), Replaced(dense))
    delta = next(delta for delta in deltas if delta.kind == kind)
    weight = torch.ones(4, 8, device="meta")

    merged = delta.merged(weight)

    assert (merged.device, merged.shape, merged.dtype) == (weight.device, weight.shape, torch.float32)


def test_an_edit_reads_a_weight_wherever_it_lies() -> None:
    name = "model.language_model.layers.0.self_attn.q_proj.weight"
    layer = Layer(name, torch.ones(4, 8, device="meta"))
    context = EditContext(torch.Generator(), {name: layer}, unused, unused)
    dora = Change({name: Decomposed(torch.ones(4, 2), torch.ones(2, 8), 2.0, torch.ones(4))})

    for change in (dora, Change({name: Replaced(torch.ones(4, 8))})):
        edited = Rewind(strength=0.5).edit(change, context)[name]
        assert {tensor.device.type for tensor in edited.tensors().values()} == {"meta"}


def unused(*_: object) -> Any:
    raise AssertionError("no data is needed")
