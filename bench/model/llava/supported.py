"""Check whether a checkpoint is a LLaVA that can be adapted here, and give the reason if it is not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.model import checkpoints
from bench.model.family import ROLES, linears_of

# The number of tokens that the tower puts before those of the patches.
CLASS_TOKENS = {"clip_vision_model": 1, "siglip_vision_model": 0}
_STRATEGIES = ("default", "full")

# Tensors of a checkpoint's files; older files have language_model.model.layers, not language_model.layers.
STORED_LINEARS = re.compile(linears_of(r"language_model(?:\.model)?") + r"\.weight")
_STORED_CONNECTOR = re.compile(r".*multi_modal_projector\.linear_[12]\.weight")
_STORED_BLOCK = re.compile(r"(.*language_model\.(?:model\.)?layers\.\d+)\..*")


def refuse_config(config: Mapping[str, Any]) -> str | None:
    """Return why a LLaVA with this config.json cannot be adapted, or None."""
    if "text_config" not in config or "vision_config" not in config:
        return "it has the original LLaVA's layout. Use a conversion to transformers, such as llava-hf/llava-1.5-7b-hf"
    tower = config["vision_config"].get("model_type")
    if tower not in CLASS_TOKENS:
        return f"its vision tower is {tower}, not {' or '.join(CLASS_TOKENS)}"
    strategy = config.get("vision_feature_select_strategy", "default")
    if strategy not in _STRATEGIES:
        return f"its vision_feature_select_strategy is {strategy!r}, not {' or '.join(_STRATEGIES)}"
    if not isinstance(config.get("vision_feature_layer", -2), int):
        return f"it uses several layers of the vision tower ({config['vision_feature_layer']}); only one is supported"
    return None


def refuse_layers(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Return how a checkpoint's decoder or connector differs from LLaVA's linear layers, or None."""
    names = {place.name for place in checkpoints.places(folder)}
    found = sum(1 for name in names if STORED_LINEARS.fullmatch(name))
    blocks = len({block[1] for name in names if (block := _STORED_BLOCK.fullmatch(name))})
    if not blocks or found != len(ROLES) * blocks:
        kind = config["text_config"].get("model_type", "llama")
        return (
            f"its decoder ({kind}) has {found} linear layers with the names that are adapted (q_proj, …, down_proj), "
            f"but its {blocks} blocks should have {len(ROLES) * blocks}"
        )
    if sum(1 for name in names if _STORED_CONNECTOR.fullmatch(name)) != 2:
        return "its connector is not multi_modal_projector.linear_1 and linear_2"
    return None


def refuse_tokens(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a checkpoint's image token or end token, or None."""
    image = config.get("image_token_index", config.get("image_token_id", 32000))
    word = checkpoints.read_json(folder / "processor_config.json").get("image_token", "<image>")
    if (known := _token_id(folder, word)) != image:
        known_as = "has no such token" if known is None else f"has it as {known}"
        return f"its image token {word} is {image} in config.json, but its tokenizer {known_as}"
    if not checkpoints.read_json(folder / "tokenizer_config.json").get("eos_token"):
        return "its tokenizer has no end token (eos_token), and every answer must end with one"
    return None


def _token_id(folder: Path, word: str) -> int | None:
    tokenizer = checkpoints.read_json(folder / "tokenizer.json")
    decoder = checkpoints.read_json(folder / "tokenizer_config.json").get("added_tokens_decoder", {})
    known: dict[str, int] = {
        **{entry["content"]: int(place) for place, entry in decoder.items()},
        **checkpoints.read_json(folder / "added_tokens.json"),
        **{entry["content"]: entry["id"] for entry in tokenizer.get("added_tokens", ())},
    }
    return known.get(word)
