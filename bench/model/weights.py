"""Map a checkpoint's files into memory, so that the processes of a node share the pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from typing_extensions import override

from bench.errors import DataError
from bench.model.checkpoints import places
from bench.model.families import family_in
from bench.model.family import Family


class Stored(Mapping[str, Tensor]):
    """A checkpoint's tensors by the names in its files, mapped into memory.

    A page is read when it is first used, and all processes of a node share one copy of the pages that they only read.
    Writing to a tensor makes its pages private; the files do not change.
    """

    def __init__(self, folder: Path) -> None:
        self._files = {place.name: place.file for place in places(folder)}
        self._open = {path: safe_open(path, "pt") for path in dict.fromkeys(self._files.values())}

    @override
    def __getitem__(self, name: str) -> Tensor:
        file: Any = self._open[self._files[name]]
        tensor: Tensor = file.get_tensor(name)
        return tensor

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    @override
    def __len__(self) -> int:
        return len(self._files)


class Pristine(Mapping[str, Tensor]):
    """The values that a model's parameters were loaded with, in the checkpoint's dtype, by parameter name.

    ``names`` maps parameters to tensors of ``stored``; ``copies`` holds the parameters that ``stored`` does not hold
    unchanged.
    """

    def __init__(self, stored: Stored, names: Mapping[str, str], copies: Mapping[str, Tensor]) -> None:
        self._stored = stored
        self._names = names
        self._copies = copies
        self._order = [*names, *copies]

    @override
    def __getitem__(self, name: str) -> Tensor:
        return self._copies[name] if name in self._copies else self._stored[self._names[name]]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._order)

    @override
    def __len__(self) -> int:
        return len(self._order)

    @property
    def copied(self) -> tuple[str, ...]:
        """The names of the parameters that are held as copies."""
        return tuple(self._copies)


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
    family, stored = family_in(folder), dict(Stored(folder))
    dtype = next(tensor.dtype for tensor in stored.values() if tensor.is_floating_point())
    model: Any
    model, found_out = family.model_class.from_pretrained(
        None,
        config=family.config_class.from_pretrained(folder, local_files_only=True),
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


def pristine(model: nn.Module, folder: Path, names: Mapping[str, str]) -> Pristine:
    """Return the pristine values of a loaded model from a second mapping, which is never written to."""
    copies = {
        name: value.detach().to("cpu", copy=True) for name, value in model.named_parameters() if name not in names
    }
    present = {name: names[name] for name, _ in model.named_parameters() if name in names}
    return Pristine(Stored(folder), present, copies)


@torch.no_grad()
def cast(model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Move a model to a device and cast its parameters; buffers keep their dtype, as in from_pretrained."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(device).to(dtype)
    model.to(device)
