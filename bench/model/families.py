"""List the supported model families, and find the family of a checkpoint, a model or a parameter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import DataError, UsageError
from bench.model import checkpoints, two_sets
from bench.model.family import ROLES, Config, Family, role_of
from bench.model.llava.family import Llava
from bench.model.published import published
from bench.model.shapes import Shapes, llama_shapes

FAMILIES: tuple[Family, ...] = (Llava(),)

_SETTINGS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")


def family_of(model: Any) -> Family:
    """Return the family of a live model, wrapped by peft or not."""
    return family_with(model.config)


def family_with(config: Config) -> Family:
    """Return the family of a model's transformers configuration."""
    return next(family for family in FAMILIES if family.model_type == config.model_type)


def family_in(folder: Path) -> Family:
    """Return the family of a checkpoint, from its config.json.

    Raises:
        UsageError: the checkpoint's family is not supported.
    """
    model_type = checkpoints.read_json(folder / "config.json").get("model_type")
    if (family := _of_type(model_type)) is not None:
        return family
    known = " and ".join(f"{family.title} (model_type {family.model_type})" for family in FAMILIES)
    verb = "is" if len(FAMILIES) == 1 else "are"
    raise _refusal(folder, f"it is a {model_type} model, but only {known} {verb} supported")


def block_of(name: str) -> int | None:
    """Return the decoder block of a parameter of a live model, counted from 0; None outside the decoder."""
    found = next((found for family in FAMILIES if (found := family.blocks.search(name))), None)
    return int(found.group(1)) if found else None


def connector_of(name: str) -> str | None:
    """Return the connector that a parameter of a live model belongs to; None outside the connector."""
    return next((family.connector for family in FAMILIES if f".{family.connector}." in f".{name}"), None)


def check_checkpoint(folder: Path) -> None:
    """Refuse a checkpoint unless its family is supported and it has full weights in safetensors.

    Raises:
        UsageError: the checkpoint cannot be adapted; the message says why.
        DataError: one of its files is damaged.
    """
    config = checkpoints.read_json(folder / "config.json")
    if reason := _code(folder, config):
        raise _refusal(folder, reason)
    family = family_in(folder)
    reason = (
        family.refuse_config(config)
        or _files(folder, config)
        or family.refuse_files(folder, config)
        or _lost_tensor(folder)
    )
    if reason:
        raise _refusal(folder, reason)


def shapes_in(folder: Path) -> Shapes:
    """Return the shapes of a checkpoint's layers: those that its files have, or else what its config.json implies.

    Raises:
        UsageError: the checkpoint's family is not supported.
        DataError: one of its files is damaged.
    """
    family, decoder, connector = family_in(folder), dict[str, tuple[tuple[int, ...], ...]](), []
    for place in checkpoints.places(folder):
        if family.stored_linears.fullmatch(place.name):
            decoder[role_of(place.name)] = (*decoder.get(role_of(place.name), ()), place.shape)
        elif f".{family.connector}." in f".{place.name}":
            connector.append(place.shape)
    if decoder:
        return Shapes({role: decoder[role] for role in ROLES if role in decoder}, tuple(connector))
    return _implied(family, checkpoints.read_json(folder / "config.json"))  # a plan does not need the weights


def published_shapes(model: str) -> Shapes:
    """Return the shapes of the layers of a published checkpoint that is not on this machine.

    Raises:
        UsageError: the checkpoint's shapes are not known.
    """
    config = published(model)
    family = None if config is None else _of_type(config["model_type"])
    if config is None or family is None:
        raise UsageError(f"The model {model!r} is not on this machine, and its shapes are not known. Download it.")
    return _implied(family, config)


def _implied(family: Family, config: Mapping[str, Any]) -> Shapes:
    sizes = {**family.decoder_sizes, **config.get("text_config", {})}
    return Shapes(llama_shapes(sizes), family.connector_shapes(config))


def _of_type(model_type: object) -> Family | None:
    return next((family for family in FAMILIES if family.model_type == model_type), None)


def _refusal(folder: Path, reason: str) -> UsageError:
    return UsageError(f"{folder} cannot be the base model: {reason}.")


def _code(folder: Path, config: Mapping[str, Any]) -> str | None:
    if not config:
        return checkpoints.without_config(folder)
    for name in _SETTINGS:
        if "auto_map" in checkpoints.read_json(folder / name):
            return f"its {name} asks for custom code (auto_map), which is never run here"
    return None


def _files(folder: Path, config: Mapping[str, Any]) -> str | None:
    if "quantization_config" in config:
        return "its weights are quantised. Use the full weights; --base 4bit trains on them in 4 bits"
    if reason := _weights(folder):
        return reason
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        return "it has no tokenizer (tokenizer.json or tokenizer.model)"
    inside = "image_processor" in checkpoints.read_json(folder / "processor_config.json")
    if not (inside or (folder / "preprocessor_config.json").is_file()):
        return "it has no image processor (preprocessor_config.json)"
    return None


def _weights(folder: Path) -> str | None:
    """Return why a folder's weights are refused, or None if they are not.

    They are refused if transformers does not load them, or if what transformers loads depends on the installed packages
    or is not the only set of weights.
    """
    entry = checkpoints.weights_entry(folder)
    if entry is None or entry.suffix not in {".safetensors", ".json"}:
        return _not_safetensors(folder, entry)
    if (folder / checkpoints.ADAPTER).is_file():
        return (
            f"it has an adapter ({checkpoints.ADAPTER}) beside its weights ({entry.name}), and transformers loads both "
            "together if peft is installed. Move the adapter to another folder"
        )
    index = checkpoints.read_json(entry) if entry.suffix == ".json" else None
    if index is not None and not ("metadata" in index and index.get("weight_map")):
        return (
            f"its {entry.name} has no metadata or no weight_map, and transformers needs both. Get the checkpoint again"
        )
    if missing := checkpoints.missing_files(folder):
        by = "its index" if index is not None else "its config.json"
        return f"it lacks {missing[0]}, which {by} names. Get the checkpoint again"
    if pair := two_sets.that_differ(folder):
        one, other = (path.name for path in pair)
        return (
            f"it has two sets of weights that differ, {one} and {other}. transformers loads {one}. "
            "Move the set that you do not mean to another folder"
        )
    return None


def _not_safetensors(folder: Path, entry: Path | None) -> str:
    pickled = [entry] if entry else sorted(folder.glob("pytorch_model*.bin"))
    if pickled:
        return (
            f"its weights are pickled ({pickled[0].name}), and pickles are never read here. "
            "Save the model with save_pretrained, as safetensors"
        )
    if others := sorted(path.name for path in folder.glob("*.safetensors")):
        return (
            f"it has neither {checkpoints.WEIGHTS} nor {checkpoints.INDEX}, and transformers does not load "
            f"{others[0]}. Get the checkpoint again, or rename the file to {checkpoints.WEIGHTS} if it is the whole "
            "model"
        )
    return f"it has no weights ({checkpoints.WEIGHTS})"


def _lost_tensor(folder: Path) -> str | None:
    """Return which tensor is lost that the index names; None if the model loads without it, as with a stale index."""
    entry = checkpoints.weights_entry(folder)
    if entry is None or entry.suffix != ".json":
        return None
    names = {place.name for place in checkpoints.places(folder)}
    if not (lost := sorted(checkpoints.read_json(entry)["weight_map"].keys() - names)):
        return None
    from bench.model import weights  # it loads torch, and only a stale index needs it

    try:
        weights.load(folder)
    except DataError:
        return f"it lacks the tensor {lost[0]}, which its index names. Get the checkpoint again"
    return None
