"""A base model's files: where they lie, what is in them, and the revision that tells one model from another."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.errors import DataError, UsageError
from bench.file_digests import of_files

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_WANTED = ("*.safetensors", "*.json", "tokenizer.model")
_KEPT_BYTES = 64 << 20  # the digest of a larger file is kept: 14 GB take half a minute to read
_LFS_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where one tensor lies: the name it has there, its shape, and the file."""

    name: str
    shape: tuple[int, ...]
    file: Path


def resolve(model: str) -> Path:
    """Return the folder of a model on this machine, from a folder or a hub id ``owner/name[@revision]``.

    Raises:
        UsageError: it is not here; nothing is downloaded.
    """
    if Path(model).is_dir():
        return Path(model).resolve() if not Path(model).is_absolute() else Path(model)
    if Path(model).is_absolute() or not _HUB_ID.fullmatch(model):
        raise UsageError(f"There is no folder {model}. Name a folder with a LLaVA checkpoint, or a hub id.")
    folder = _local_snapshot(model)
    if folder is None:
        name, _, revision = model.partition("@")
        raise UsageError(
            f"{model} is no folder here and not among the downloaded models. Where the hub can be reached bench run "
            f"gets it (hf download {name}{revision and f' --revision {revision}'} does too); "
            "elsewhere copy it and pass --model DIR."
        )
    return folder


def fetch(model: str) -> Path:
    """Return the folder of a model, downloaded from the hub where it is not here or not whole.

    Raises:
        UsageError: it is neither here nor can it be downloaded.
    """
    if Path(model).is_dir() or Path(model).is_absolute() or not _HUB_ID.fullmatch(model):
        return resolve(model)
    folder = _local_snapshot(model)
    if folder is not None and not missing_files(folder):
        return folder
    from huggingface_hub import snapshot_download

    name, _, revision = model.partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(_WANTED)))
    except Exception as error:  # the hub's client raises a dozen kinds, and the same helps against all
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UsageError(
            f"{model} cannot be downloaded ({reason}). Try again, or copy the model here and pass --model DIR."
        ) from error


def pinned(model: str) -> str:
    """Return a model's name that always means the same files: an absolute folder, or a hub id with its commit."""
    folder = resolve(model)
    name = model.partition("@")[0]
    in_cache = folder.parent.name == "snapshots" and not Path(model).is_dir()
    return f"{name}@{folder.name}" if in_cache else str(folder)


@cache
def revision(folder: Path) -> str:
    """Return the digest of every file of a base model that decides what it computes.

    Raises:
        DataError: the folder holds no model.
    """
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder} holds no base model (no config.json). Reinstall, or run bench pretrain.")
    total = hashlib.sha256()
    for path in sorted(path for path in folder.glob("*") if path.suffix in {".json", ".safetensors"}):
        total.update(path.name.encode())
        total.update(_sha256(path))
    return total.hexdigest()[:16]


def read_json(path: Path) -> dict[str, Any]:
    """Return a checkpoint's JSON file; where there is none, nothing.

    Raises:
        DataError: it is damaged.
    """
    if not path.is_file():
        return {}
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}). Get the checkpoint again.") from error
    return value


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold the weights: those that the index names, else every safetensors file."""
    index = read_json(folder / "model.safetensors.index.json").get("weight_map", {})
    return [folder / name for name in sorted(set(index.values()))] or sorted(folder.glob("*.safetensors"))


def missing_files(folder: Path) -> list[str]:
    """Return the files that the checkpoint's index names and that are not there; a config or all weights too."""
    paths = [folder / "config.json", *(weight_files(folder) or [folder / "model.safetensors"])]
    return [path.name for path in paths if not path.is_file()]


def places(folder: Path) -> Iterator[StoredTensor]:
    """Yield every tensor of a checkpoint from the headers of its files alone.

    Raises:
        DataError: a file is missing, damaged or cut short.
    """
    for path in weight_files(folder):
        for name, entry in _header(path).items():
            yield StoredTensor(name, tuple(entry["shape"]), path)


def parameters(folder: Path) -> int:
    """Return how many numbers a checkpoint's tensors hold."""
    return sum(math.prod(place.shape) for place in places(folder))


def _header(path: Path) -> Mapping[str, Any]:
    """Return a safetensors file's entries by name, having seen that the file is as long as they say."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entries: dict[str, Any] = json.loads(file.read(length))
        size = path.stat().st_size
    except (OSError, ValueError, MemoryError, OverflowError) as error:
        raise DataError(f"{path} cannot be read ({error}). Get the checkpoint again.") from error
    entries.pop("__metadata__", None)
    end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if end != size:
        raise DataError(f"{path} has {size} bytes of {end}. Get the checkpoint again.")
    return entries


def _local_snapshot(model: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    name, _, revision = model.partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _sha256(path: Path) -> bytes:
    """Return a file's digest; a large one's is its name in the hub's cache, or kept in ours."""
    if path.stat().st_size < _KEPT_BYTES:
        return hashlib.sha256(path.read_bytes()).digest()
    target = path.resolve()
    if target.parent.name == "blobs" and _LFS_NAME.fullmatch(target.name):
        return bytes.fromhex(target.name)
    return of_files([path])[path]
