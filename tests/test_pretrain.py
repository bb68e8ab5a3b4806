import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench import pretrain
from bench.models import Base


@pytest.mark.slow
def test_pretraining_gives_the_same_bytes_twice_and_a_base_model_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stage in ("TOWER", "DECODER"):
        monkeypatch.setattr(pretrain, stage, replace(getattr(pretrain, stage), steps=2))

    for folder in ("one", "two"):
        pretrain.pretrain(tmp_path / folder, seed=0, progress=lambda line: None)
    torch.set_num_threads(1)

    one, two = (
        hashlib.sha256((tmp_path / name / "model.safetensors").read_bytes()).digest() for name in ("one", "two")
    )
    assert one == two
    assert Base.load(tmp_path / "one", "float32", torch.device("cpu")).image_tokens == pretrain.IMAGE_TOKENS
