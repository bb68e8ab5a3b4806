"""recipe.adapt says which linear layers of the decoder carry an adapter."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from bench import Recipe, lora_adapters
from bench.cli.main import main
from bench.errors import UsageError
from bench.methods.lora import LoRA
from bench.model import families
from bench.model.adapters import adapted_layers
from bench.model.family import ROLES
from bench.plan.recipes import changed_recipe
from bench.plan.suite import MICRO
from tests.making.second_family import Second, write_second


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
    with pytest.raises(UsageError, match=r"is not a layer of the decoder\. Give one of all, attention, mlp"):
        changed_recipe(MICRO.recipe, {"adapt": adapt})


def test_a_mistyped_group_is_told_its_name() -> None:
    with pytest.raises(UsageError, match=r"'Attention' is not a layer of the decoder\. Did you mean 'attention'\?"):
        changed_recipe(MICRO.recipe, {"adapt": "Attention"})


@pytest.mark.parametrize(
    ("method", "adapt", "message"),
    [
        (
            "orth_reg",
            "mlp",
            "orth_reg needs adapters on q_proj, v_proj, but recipe.adapt=mlp puts none on q_proj, v_proj",
        ),
        (
            "lorasculpt",
            "q_v",
            "but recipe.adapt=q_v puts none on k_proj.",
        ),
    ],
)
def test_a_method_that_reads_other_layers_is_refused_with_the_reason(
    method: str, adapt: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--methods", method, "--set", f"recipe.adapt={adapt}", "--dry-run", "--output", str(tmp_path / "runs")]

    assert main(["run", *words]) == 2

    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("_second_family")
def test_a_role_that_the_checkpoint_lacks_is_refused(without_q: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--methods", "lora", "--ranks", "2", "--dry-run", "--model", str(without_q)]

    assert main([*words, "--set", "recipe.adapt=q_v"]) == 2
    assert capsys.readouterr().err == (
        "bench: recipe.adapt is 'q_v', but the decoder of the model of suite micro has no q_proj. Give all, or one or "
        "more of k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, joined by +.\n"
    )
    main([*words, "--set", "recipe.adapt=mlp"])
    assert "recipe.adapt" not in capsys.readouterr().err


def test_a_llava_without_a_role_is_refused_whatever_is_adapted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _without_q(MICRO.folder, tmp_path / "model")

    assert main(["run", "--methods", "lora", "--dry-run", "--model", str(folder)]) == 2

    assert "its decoder (llama) has 24 linear layers with the names that are adapted" in capsys.readouterr().err


@pytest.fixture
def _second_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the made-up family, which does not count the layers of a checkpoint."""
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, Second()))


@pytest.fixture
def without_q(tmp_path: Path) -> Path:
    """A checkpoint of the made-up family without q_proj."""
    write_second(tmp_path / "second")
    return _without_q(tmp_path / "second", tmp_path / "less")


def _without_q(folder: Path, to: Path) -> Path:
    """Copy a checkpoint without its decoder's q_proj."""
    shutil.copytree(folder, to)
    tensors = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if "layers" not in name or "q_proj" not in name}
    save_file(kept, to / "model.safetensors", {"format": "pt"})
    return to


@pytest.mark.slow
def test_a_method_that_reads_all_layers_takes_any(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--methods", "lora,orth_reg", "--set", "recipe.adapt=mlp", "--set", "orth_reg.modules=all", "--dry-run"]

    assert main(["run", *words, "--output", str(tmp_path / "runs")]) == 0

    assert "4 cells, 4 trainings" in capsys.readouterr().out
