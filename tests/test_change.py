from __future__ import annotations

from pathlib import Path

import torch

from bench import Change, LowRank, Replaced


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
