"""Map a checkpoint's files into memory, so that the processes of a node share the pages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from bench.errors import DataError
from bench.model.checkpoints import places
from bench.model.families import family_in
from bench.model.family import Family


def mapped(folder: Path) -> dict[str, Tensor]:
    """Return a checkpoint's tensors by the names in its files, mapped into memory.

    A page is read when it is first used, and all processes of a node share one copy of the pages that they only read.
    Writing to a tensor makes its pages private; the files do not change.
    """
    stored = tuple(places(folder))
    opened: dict[Path, Any] = {path: safe_open(path, "pt") for path in dict.fromkeys(place.file for place in stored)}
    return {place.name: opened[place.file].get_tensor(place.name) for place in stored}


def load(folder: Path) -> tuple[nn.Module, dict[str, str]]:
    """Return a checkpoint's model on the CPU, and its parameters' names in the checkpoint's files.

    The model allocates no memory: tensors of the checkpoint's dtype become its parameters as they are. A parameter is
    matched with its tensor by address, so that transformers may translate names of any age.

    Raises:
        DataError: the checkpoint lacks a tensor or has one in another shape; transformers would draw it at random.
    """
    from transformers import GenerationConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # the command line draws progress; the engine never does
    family, stored = family_in(folder), mapped(folder)
    dtype = next(tensor.dtype for tensor in stored.values() if tensor.is_floating_point())
    model: Any
    model, found_out = family.model_class.from_pretrained(
        None,
        config=family.model_class.config_class.from_pretrained(folder, local_files_only=True),
        state_dict=dict(stored),
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    _refuse_gaps(folder, family, found_out)
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    lying = {tensor.data_ptr(): name for name, tensor in stored.items()}
    return model, {
        name: found
        for name, value in model.named_parameters()
        if (found := lying.get(value.data_ptr())) is not None and stored[found].shape == value.shape
    }


def _refuse_gaps(folder: Path, family: Family, found_out: Mapping[str, Any]) -> None:
    missing = sorted(name for name in found_out["missing_keys"] if not family.unread.search(name))
    others = sorted(name for name, *_ in found_out["mismatched_keys"])
    if missing or others:
        what = f"lacks {missing[0]}" if missing else f"has {others[0]} in another shape than its config.json says"
        more = len(missing) + len(others) - 1
        raise DataError(f"{folder} {what}{f' (and {more} more)' if more else ''}. Get the checkpoint again.")


def pristine(model: nn.Module, folder: Path, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the values that a model was loaded with, in the checkpoint's dtype, by parameter name.

    They are in a second mapping, which is never written to; parameters that the files do not hold are copied.
    """
    stored, parameters = mapped(folder), dict(model.named_parameters())
    copies = {name: value.detach().to("cpu", copy=True) for name, value in parameters.items() if name not in names}
    return {name: stored[names[name]] for name in parameters if name in names} | copies


@torch.no_grad()
def cast(model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Move a model to a device and cast its parameters; buffers keep their dtype, as in from_pretrained."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(device).to(dtype)
    model.to(device)
