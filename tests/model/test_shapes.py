"""What a recipe trains is counted from shapes alone, and is what a live model trains."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import Recipe
from bench.cli.main import main
from bench.errors import UsageError
from bench.methods.lora import LoRA
from bench.model import families
from bench.model.families import published_shapes, shapes_in
from bench.plan.suite import MICRO
from tests.making.second_family import Second, write_second


@pytest.mark.parametrize("adapt", ["all", "attention", "gate_up", "down_proj"])
@pytest.mark.parametrize("connector", ["full", "frozen", "lora"])
def test_it_is_what_a_live_model_trains(
    adapt: str, connector: Any, tiny_llava: Any, tiny_folder: Path, recipe: Recipe
) -> None:
    chosen = replace(recipe, adapt=adapt, connector=connector)
    live = LoRA().adapt(tiny_llava(), 3, chosen)

    trained = sum(parameter.numel() for parameter in live.parameters() if parameter.requires_grad)

    assert shapes_in(tiny_folder).trained(chosen, 3) == trained


def test_a_config_alone_implies_the_shapes_of_the_weights(tmp_path: Path, tiny_folder: Path) -> None:
    for number, folder in enumerate((MICRO.folder, tiny_folder)):
        alone = tmp_path / str(number)
        alone.mkdir()
        shutil.copy(folder / "config.json", alone)

        assert shapes_in(alone).decoder == shapes_in(folder).decoder
        assert sorted(shapes_in(alone).connector) == sorted(shapes_in(folder).connector)


def test_another_familys_connector_is_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, Second()))
    write_second(tmp_path / "second")
    (alone := tmp_path / "alone").mkdir()
    shutil.copy(tmp_path / "second" / "config.json", alone)

    assert sorted(shapes_in(tmp_path / "second").connector) == [(32,), (32, 12)]
    assert shapes_in(alone).decoder == shapes_in(tmp_path / "second").decoder


def test_keys_of_fewer_heads_limit_the_rank_only_if_they_carry_an_adapter(tmp_path: Path) -> None:
    text = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 8, "num_key_value_heads": 2}
    config = {"model_type": "llava", "text_config": text}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")

    assert families.shapes_in(tmp_path).smallest_side() == 16
    assert families.shapes_in(tmp_path).smallest_side("mlp") == 64


def test_a_control_above_the_smallest_side_can_be_asked_for_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--methods", "lora", "--dry-run", "--output", str(tmp_path), "--set", "recipe.adapt=attention"]

    assert main([*words, "--ranks", "136"]) == 0  # as many parameters as LoRA at rank 64
    assert main([*words, "--ranks", "300"]) == 2
    assert "has 128 rows or columns. Give a rank of at most 272, at which" in capsys.readouterr().err
    assert main([*words[:-2], "--ranks", "136"]) == 2


def test_a_published_model_has_the_shapes_of_its_config() -> None:
    shapes = published_shapes("llava-hf/llava-1.5-7b-hf@a-commit")

    assert shapes.smallest_side() == 4096
    assert len(shapes.decoder["q_proj"]) == 32
    with pytest.raises(UsageError, match="'some/model' is not on this machine, and its shapes are not known"):
        published_shapes("some/model")
