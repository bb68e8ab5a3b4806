import hashlib
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch

from bench.model.resident import Base, Form
from bench.plugins.tasks import Tasks
from bench.prepare.pretrain.build import read_album
from bench.prepare.pretrain.lessons import SOURCES, TARGETS
from bench.prepare.pretrain.stage import SHAPE

pytestmark = pytest.mark.slow

BUILD = """
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from bench.prepare.pretrain import build, card, decoder, tower
for module, stage in ((decoder, "LOOKUP"), (decoder, "TEXT"), (tower, "TOWER"), (decoder, "CONNECTOR")):
    setattr(module, stage, replace(getattr(module, stage), steps=2))
album = build.read_album
build.read_album = lambda tasks: replace(whole := album(tasks), pictures=whole.pictures[::10])
card.zero_shot = partial(card.zero_shot, most=8)
card.build(Path(sys.argv[1]), seed=0, progress=lambda line: None)
"""


def test_pretraining_gives_the_same_bytes_in_two_processes_and_a_base_model_that_loads(tmp_path: Path) -> None:
    for folder, hash_seed in (("one", "1"), ("two", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", BUILD, str(tmp_path / folder)], env=environment, check=True)

    digests = [
        hashlib.sha256((tmp_path / name / "model.safetensors").read_bytes()).hexdigest() for name in ("one", "two")
    ]
    assert digests[0] == digests[1]
    base = Base.load(tmp_path / "one", Form(), torch.device("cpu"))
    assert base.family.image_tokens(base.model.config) == SHAPE.image_tokens
    card = (tmp_path / "one" / "README.md").read_text(encoding="utf-8")
    assert digests[0] in card
    assert all(f"| {name} |" in card for name in (*SOURCES, *TARGETS))


def test_pretraining_sees_training_pictures_of_the_sources_and_nothing_of_the_targets_but_words() -> None:
    assert {*SOURCES, *TARGETS} <= {entry.name for entry in entry_points(group="bench.tasks")}
    installed = Tasks()
    tasks = {name: installed.load(name) for name in (*SOURCES, *TARGETS)}
    train = {example.id for name in SOURCES for example in tasks[name].examples("train")}

    album = read_album(tasks)

    assert {picture.task for picture in album.pictures} == set(SOURCES)
    assert {example.id for picture in album.pictures for example in picture.asked} <= train
    assert set(album.unseen) == {"anchor", "cloud", "crown", "gift", "heart", "magnet", "rocket", "skull"}
