"""Whether a checkpoint is one that can be adapted here; where it is not, the reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.model import checkpoints
from bench.model.names import ROLES, STORED_CONNECTOR, STORED_LINEARS, stored_block_of

# Tokens that the tower puts before those of the patches.
CLASS_TOKENS = {"clip_vision_model": 1, "siglip_vision_model": 0}
_STRATEGIES = ("default", "full")
_SETTINGS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")


def check(folder: Path) -> None:
    """Refuse a checkpoint that is no LLaVA as transformers has it, with full weights in safetensors.

    Raises:
        UsageError: it cannot be adapted; the message says why.
        DataError: one of its files is damaged.
    """
    config = checkpoints.read_json(folder / "config.json")
    reason = (
        _kind(folder, config)
        or _files(folder)
        or _tower(config)
        or _layers(folder, config)
        or _image_token(folder, config)
    )
    if reason is not None:
        raise UsageError(f"{folder} cannot be the base model: {reason}.")


def image_tokens(config: Any) -> int:
    """Return how many tokens of the decoder one image takes, from LLaVA's transformers configuration.

    It is a token for each patch and each class token, less the one that the strategy ``default`` drops.
    """
    vision = config.vision_config
    patches = int((vision.image_size // vision.patch_size) ** 2)
    dropped = config.vision_feature_select_strategy == "default"
    return patches + CLASS_TOKENS[vision.model_type] - int(dropped)


def _kind(folder: Path, config: Mapping[str, Any]) -> str | None:
    if not config:
        return "it has no config.json"
    for name in _SETTINGS:
        if "auto_map" in checkpoints.read_json(folder / name):
            return f"its {name} asks for code of its own (auto_map), which is never run here"
    kind = config.get("model_type")
    if kind != "llava":
        return f"it is a {kind} model, and only LLaVA (model_type llava) is known"
    if "text_config" not in config or "vision_config" not in config:
        return (
            "it is in the original LLaVA's layout. Take the conversion to transformers, as llava-hf/llava-1.5-7b-hf is"
        )
    if "quantization_config" in config:
        return "its weights are quantised. Take the full weights, and --base 4bit to train on them in 4 bits"
    return None


def _files(folder: Path) -> str | None:
    pickled = sorted(path.name for suffix in ("bin", "pt", "pth") for path in folder.glob(f"*.{suffix}"))
    if not checkpoints.weight_files(folder):
        if pickled:
            return (
                f"its weights are pickled ({pickled[0]}), which is never read here. "
                "Save it anew with save_pretrained, as safetensors"
            )
        return "it has no weights (*.safetensors)"
    if missing := checkpoints.missing_files(folder):
        return f"it lacks {missing[0]}, which its index names. Get the checkpoint again"
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        return "it has no tokenizer (tokenizer.json or tokenizer.model)"
    inside = "image_processor" in checkpoints.read_json(folder / "processor_config.json")
    if not (inside or (folder / "preprocessor_config.json").is_file()):
        return "it has no image processor (preprocessor_config.json)"
    return None


def _tower(config: Mapping[str, Any]) -> str | None:
    tower = config["vision_config"].get("model_type")
    if tower not in CLASS_TOKENS:
        return f"its vision tower is {tower}; known are {', '.join(CLASS_TOKENS)}"
    strategy = config.get("vision_feature_select_strategy", "default")
    if strategy not in _STRATEGIES:
        return f"its vision_feature_select_strategy is {strategy!r}; known are {', '.join(_STRATEGIES)}"
    if not isinstance(config.get("vision_feature_layer", -2), int):
        return f"it takes several layers of the vision tower ({config['vision_feature_layer']}); one is known"
    return None


def _layers(folder: Path, config: Mapping[str, Any]) -> str | None:
    names = {place.name for place in checkpoints.places(folder)}
    found = sum(1 for name in names if STORED_LINEARS.fullmatch(name))
    blocks = len({block for name in names if (block := stored_block_of(name))})
    if not blocks or found != len(ROLES) * blocks:
        kind = config["text_config"].get("model_type", "llama")
        return (
            f"its decoder ({kind}) has {found} linear layers of the names that are adapted, q_proj, …, down_proj, "
            f"where {blocks} blocks should have {len(ROLES) * blocks}"
        )
    if sum(1 for name in names if STORED_CONNECTOR.fullmatch(name)) != 2:
        return "its connector is not multi_modal_projector.linear_1 and linear_2"
    indexed = checkpoints.read_json(folder / "model.safetensors.index.json").get("weight_map", {})
    if lost := sorted(indexed.keys() - names):
        return f"it lacks the tensor {lost[0]}, which its index names. Get the checkpoint again"
    return None


def _image_token(folder: Path, config: Mapping[str, Any]) -> str | None:
    image = config.get("image_token_index", config.get("image_token_id", 32000))
    word = checkpoints.read_json(folder / "processor_config.json").get("image_token", "<image>")
    if (known := _token_id(folder, word)) != image:
        known_as = "has no such token" if known is None else f"has it as {known}"
        return f"its image token {word} is {image} in config.json, and its tokenizer {known_as}"
    if not checkpoints.read_json(folder / "tokenizer_config.json").get("eos_token"):
        return "its tokenizer has no end token (eos_token), which every answer is taught with"
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
