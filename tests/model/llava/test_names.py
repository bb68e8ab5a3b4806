import re

import pytest

from bench.model.families import block_of, connector_of
from bench.model.family import role_of
from bench.model.llava import names

Q, TOWER = "self_attn.q_proj.weight", "vision_tower.vision_model.encoder.layers.3.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    "start", ["model.language_model.layers.3", "language_model.model.layers.3", "language_model.layers.3"]
)
def test_a_decoder_linear_is_known_in_files_of_any_age(start: str) -> None:
    assert names.STORED_LINEARS.fullmatch(f"{start}.{Q}")
    assert not names.STORED_LINEARS.fullmatch(f"{start}.self_attn.q_proj.bias")
    assert names.stored_block_of(f"{start}.{Q}") == names.stored_block_of(f"{start}.input_layernorm.weight") == start


@pytest.mark.parametrize("start", ["model.", ""])
def test_the_vision_towers_linears_are_not_the_decoders(start: str) -> None:
    assert not names.STORED_LINEARS.fullmatch(start + TOWER)
    assert not re.fullmatch(names.LANGUAGE_LINEARS, (start + TOWER).removesuffix(".weight"))
    assert (block_of(start + TOWER), names.stored_block_of(start + TOWER)) == (None, None)


def test_a_live_models_name_says_block_and_role() -> None:
    layer, connector = f"model.language_model.layers.11.{Q}", "model.multi_modal_projector.linear_2.weight"

    assert re.fullmatch(names.LANGUAGE_LINEARS, layer.removesuffix(".weight"))
    assert re.fullmatch(names.CONNECTOR_LINEARS, connector.removesuffix(".weight"))
    assert names.STORED_CONNECTOR.fullmatch(connector)
    assert (block_of(layer), role_of(layer)) == (11, "q_proj")
    assert (block_of(connector), role_of(connector)) == (None, "linear_2")
    assert (connector_of(layer), connector_of(connector)) == (None, names.CONNECTOR)
