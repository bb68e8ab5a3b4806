"""recipe.adapt says which linear layers of the decoder carry an adapter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import Recipe, lora_adapters
from bench.cli.main import main
from bench.errors import UsageError
from bench.methods.lora import LoRA
from bench.model.adapters import adapted_layers
from bench.model.family import ROLES
from bench.plan.recipes import changed_recipe
from bench.plan.suite import MICRO


@pytest.mark.parametrize(
    ("adapt", "roles"),
    [
        ("all", ROLES),
        ("attention", ("q_proj", "k_proj", "v_proj", "o_proj")),
        ("mlp", ("gate_proj", "up_proj", "down_proj")),
        ("gate_up", ("gate_proj", "up_proj")),
        ("q_v", ("q_proj", "v_proj")),
        ("o_proj+down_proj", ("o_proj", "down_proj")),
    ],
)
@pytest.mark.parametrize("connector", ["lora", "frozen"])
def test_exactly_the_named_layers_of_every_block_carry_an_adapter(
    adapt: str, roles: tuple[str, ...], connector: Any, tiny_llava: Any, recipe: Recipe
) -> None:
    chosen = replace(recipe, adapt=adapt, connector=connector)
    plain = adapted_layers(tiny_llava(), chosen)
    live = {adapter.name for adapter in lora_adapters(LoRA().adapt(tiny_llava(), 2, chosen))}

    assert live == set(plain)
    decoder = [layer for layer in plain.values() if not layer.in_connector]
    assert sorted((layer.block, layer.role) for layer in decoder) == sorted(
        (block, role) for block in range(2) for role in roles
    )
    assert len(plain) - len(decoder) == (2 if connector == "lora" else 0)


def test_all_layers_leave_the_recipe_as_it_was() -> None:
    assert "adapt" not in MICRO.recipe.to_json()
    assert changed_recipe(MICRO.recipe, {"adapt": "attention"}).to_json()["adapt"] == "attention"


@pytest.mark.parametrize(("written", "name"), [("v_proj+q_proj", "q_v"), (" up_proj + o_proj", "o_proj+up_proj")])
def test_equal_layers_have_one_name(written: str, name: str) -> None:
    assert changed_recipe(MICRO.recipe, {"adapt": written}).adapt == name


@pytest.mark.parametrize("adapt", ["", "heads", "q_proj+heads", "attention+mlp"])
def test_a_layer_that_no_decoder_has_is_refused(adapt: str) -> None:
    with pytest.raises(UsageError, match=r"is no layer of the decoder\. Give all, attention, mlp"):
        changed_recipe(MICRO.recipe, {"adapt": adapt})


@pytest.mark.parametrize(
    ("method", "adapt", "message"),
    [
        (
            "orth_reg",
            "mlp",
            "orth_reg reads the adapters of q_proj, v_proj, but recipe.adapt=mlp gives q_proj, v_proj none",
        ),
        (
            "lorasculpt",
            "q_v",
            "lorasculpt reads the adapters of q_proj, k_proj, v_proj, but recipe.adapt=q_v gives k_proj",
        ),
    ],
)
def test_a_method_that_reads_other_layers_is_refused_with_the_reason(
    method: str, adapt: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--methods", method, "--set", f"recipe.adapt={adapt}", "--dry-run", "--output", str(tmp_path / "runs")]

    assert main(["run", *words]) == 2

    assert message in capsys.readouterr().err


def test_a_method_that_reads_all_layers_takes_any(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--methods", "lora,orth_reg", "--set", "recipe.adapt=mlp", "--set", "orth_reg.modules=all", "--dry-run"]

    assert main(["run", *words, "--output", str(tmp_path / "runs")]) == 0

    assert "4 cells, 4 trainings" in capsys.readouterr().out
