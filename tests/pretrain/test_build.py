import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.models import Base
from bench.pretrain import build, decoder, tower
from bench.pretrain.stage import SHAPE


@pytest.mark.slow
def test_pretraining_gives_the_same_bytes_twice_and_a_base_model_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = ((decoder, "LOOKUP"), (decoder, "TEXT"), (tower, "TOWER"), (decoder, "CONNECTOR"))
    for module, stage in stages:
        monkeypatch.setattr(module, stage, replace(getattr(module, stage), steps=2))

    for folder in ("one", "two"):
        build.pretrain(tmp_path / folder, seed=0, progress=lambda line: None)

    one, two = (
        hashlib.sha256((tmp_path / name / "model.safetensors").read_bytes()).digest() for name in ("one", "two")
    )
    assert one == two
    assert Base.load(tmp_path / "one", "float32", torch.device("cpu")).image_tokens == SHAPE.image_tokens
