"""Find a base model's files, read them, and compute the revision that identifies the model."""

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

from bench.errors import DataError, UsageError, first_line
from bench.file_digests import of_files

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_WANTED = ("*.safetensors", "*.json", "tokenizer.model")
_KEPT_BYTES = 64 << 20  # the digest of a larger file is cached, because reading 14 GB takes half a minute
_LFS_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of a checkpoint: its name in the file, its shape, and the file."""

    name: str
    shape: tuple[int, ...]
    file: Path


def resolve(model: str) -> Path:
    """Return a model's folder on this machine, from a folder or a hub id ``owner/name[@revision]``.

    Raises:
        UsageError: the model is not on this machine; nothing is downloaded.
    """
    if Path(model).is_dir():
        return Path(model).resolve() if not Path(model).is_absolute() else Path(model)
    if Path(model).is_absolute() or not _HUB_ID.fullmatch(model):
        raise UsageError(f"{model} is not a folder. Name a folder with a LLaVA checkpoint, or a hub id.")
    folder = _local_snapshot(model)
    if folder is None:
        name, _, revision = model.partition("@")
        raise UsageError(
            f"{model} is neither a folder on this machine nor a downloaded model. With access to the hub, bench run "
            f"downloads it (or run hf download {name}{revision and f' --revision {revision}'}). "
            "Without access, copy it here and pass --model DIR."
        )
    return folder


def fetch(model: str) -> Path:
    """Return a model's folder on this machine; download the model if it is missing or incomplete.

    Raises:
        UsageError: the model is not on this machine and cannot be downloaded.
    """
    if Path(model).is_dir() or Path(model).is_absolute() or not _HUB_ID.fullmatch(model):
        return resolve(model)
    folder = _local_snapshot(model)
    if folder is not None and not missing_files(folder):
        return folder
    try:
        return _snapshot(model, allow_patterns=list(_WANTED))
    except Exception as error:  # the hub's client raises a dozen types, and the same remedy helps against all
        raise UsageError(
            f"{model} cannot be downloaded ({first_line(error)}). Try again, or copy the model here "
            "and pass --model DIR."
        ) from error


def pinned(model: str) -> str:
    """Return a name that always means the same files: an absolute folder, or a hub id with its commit."""
    folder = resolve(model)
    name = model.partition("@")[0]
    in_cache = folder.parent.name == "snapshots" and not Path(model).is_dir()
    return f"{name}@{folder.name}" if in_cache else str(folder)


@cache
def revision(folder: Path) -> str:
    """Return one digest of all the files that decide what a base model computes.

    Raises:
        DataError: the folder does not hold a model.
    """
    if not (folder / "config.json").is_file():
        raise DataError(
            f"{folder} is not a base model, because it has no config.json. Reinstall, or run bench pretrain."
        )
    total = hashlib.sha256()
    for path in sorted(path for path in folder.glob("*") if path.suffix in {".json", ".safetensors"}):
        total.update(path.name.encode())
        total.update(_sha256(path))
    return total.hexdigest()[:16]


def read_json(path: Path) -> dict[str, Any]:
    """Return the contents of a checkpoint's JSON file, or an empty dict if the file does not exist.

    Raises:
        DataError: the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}). Get the checkpoint again.") from error
    return value


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files: those that the index names, or every safetensors file if it names no file."""
    index = read_json(folder / "model.safetensors.index.json").get("weight_map", {})
    return [folder / name for name in sorted(set(index.values()))] or sorted(folder.glob("*.safetensors"))


def missing_files(folder: Path) -> list[str]:
    """Return the names of missing files: config.json, and the weight files that the index names.

    If the checkpoint has no weight file at all, model.safetensors is missing.
    """
    paths = [folder / "config.json", *(weight_files(folder) or [folder / "model.safetensors"])]
    return [path.name for path in paths if not path.is_file()]


def places(folder: Path) -> Iterator[StoredTensor]:
    """Yield every tensor of a checkpoint; only the headers of its files are read.

    Raises:
        DataError: a file is missing, damaged or cut short.
    """
    for path in weight_files(folder):
        for name, entry in _header(path).items():
            yield StoredTensor(name, tuple(entry["shape"]), path)


def parameters(folder: Path) -> int:
    """Return the number of values in a checkpoint's tensors."""
    return sum(math.prod(place.shape) for place in places(folder))


def _header(path: Path) -> Mapping[str, Any]:
    """Return a safetensors file's entries by name, after checking the file's length against them."""
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
        raise DataError(f"{path} has {size} bytes, but its header says {end}. Get the checkpoint again.")
    return entries


def _local_snapshot(model: str) -> Path | None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return _snapshot(model, local_files_only=True)
    except LocalEntryNotFoundError:
        return None


def _snapshot(model: str, **options: object) -> Path:
    """Return the folder of a hub id ``owner/name[@revision]`` in the hub's cache, as its client finds or fills it."""
    from huggingface_hub import snapshot_download

    name, _, revision = model.partition("@")
    return Path(snapshot_download(name, revision=revision or None, **options))


def _sha256(path: Path) -> bytes:
    """Return a file's SHA-256; for a large file, from its name in the hub's cache or from our own cache."""
    if path.stat().st_size < _KEPT_BYTES:
        return hashlib.sha256(path.read_bytes()).digest()
    target = path.resolve()
    if target.parent.name == "blobs" and _LFS_NAME.fullmatch(target.name):
        return bytes.fromhex(target.name)
    return of_files([path])[path]
