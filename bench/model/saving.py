"""Write weights that colleagues can read, because safetensors makes files that only their owner can read."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.errors import StoreError


def save_model(model: Any, folder: Path) -> None:
    """Write a model of transformers to a folder, readable as any new file is."""
    model.save_pretrained(folder)
    for path in folder.glob("*.safetensors"):
        _open_up(path)


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write tensors to a safetensors file, readable as any new file is."""
    save_file(dict(tensors), path, metadata)
    _open_up(path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name.

    Raises:
        StoreError: the file cannot be read.
    """
    try:
        found: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path} holds no readable tensors: {error}.") from error
    return found


def _open_up(path: Path) -> None:
    """Give a file the permissions of a new file.

    A new file shows them. The umask would too, but it can only be read by changing it for all threads.
    """
    fresh = path.with_name(f".{path.name}.mode")
    with suppress(OSError):  # a disk may have no permissions
        fresh.touch()
        path.chmod(fresh.stat().st_mode & 0o777)
    fresh.unlink(missing_ok=True)
