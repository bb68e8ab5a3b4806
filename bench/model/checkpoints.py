"""Find a base model's files, read them, and compute the revision that identifies the model."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.errors import DataError, UsageError, first_line
from bench.file_digests import of_files

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_WANTED = ("*.safetensors", "*.json", "tokenizer.model")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_LOADED = (  # what transformers loads of a model's folder, other than its weights
    "added_tokens.json",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
_SLOW = ("merges.txt", "tokenizer.model", "vocab.json")  # the tokenizer's files if there is no tokenizer.json
ADAPTER = "adapter_config.json"  # transformers looks for this name
_POINTER = b"version https://git-lfs"  # how a file begins that git-lfs has not fetched
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
    """Return one digest of all the files that decide what a base model computes; other files have no effect.

    Raises:
        DataError: the folder does not hold a model.
    """
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder} is not a base model: {without_config(folder)}.")
    entry, tokenizer = weights_entry(folder), () if (folder / "tokenizer.json").is_file() else _SLOW
    paths = {folder / name for name in (*_LOADED, *tokenizer)} | {*weight_files(folder), *([entry] if entry else [])}
    total = hashlib.sha256()
    for path in sorted(path for path in paths if path.is_file()):
        total.update(path.name.encode())
        total.update(_sha256(path))
    return total.hexdigest()[:16]


def without_config(folder: Path) -> str:
    """Return what a folder without config.json is instead, and what to do."""
    if (folder / ADAPTER).is_file():
        return f"it is an adapter ({ADAPTER}) without its base. Name a folder with the adapter merged into its base"
    inside = next(iter(sorted(path.parent.name for path in folder.glob("*/config.json"))), None)
    remedy = f"{inside}/ inside it has one: name that folder" if inside else "Get the checkpoint again"
    return f"it has no config.json. {remedy}"


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
        raise _damaged(path, f"is damaged ({error})") from error
    return value


def weights_entry(folder: Path) -> Path | None:
    """Return the file with which transformers begins to load the weights: a file of weights, or an index of files.

    It is the one that config.json names as ``transformers_weights``, or else model.safetensors, or else the index.
    None if the folder has none of them; the file that config.json names need not exist.
    """
    if named := read_json(folder / "config.json").get("transformers_weights"):
        return folder / str(named)
    return next((path for name in (WEIGHTS, INDEX) if (path := folder / name).is_file()), None)


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files that transformers loads, whatever lies beside them; they need not exist."""
    entry = weights_entry(folder)
    return [] if entry is None else files_of(entry)


def files_of(entry: Path) -> list[Path]:
    """Return the weight files that an index names; a file that is not an index stands for itself."""
    if entry.suffix != ".json":
        return [entry]
    return [entry.parent / name for name in sorted(set(read_json(entry).get("weight_map", {}).values()))]


def missing_files(folder: Path) -> list[str]:
    """Return the names of missing files: config.json, and the weight files that the index names.

    If the checkpoint has no weight file at all, model.safetensors is missing.
    """
    paths = [folder / "config.json", *(weight_files(folder) or [folder / WEIGHTS])]
    return [path.name for path in paths if not path.is_file()]


def places(folder: Path) -> Iterator[StoredTensor]:
    """Yield every tensor of a checkpoint; only the headers of its files are read.

    Raises:
        DataError: a file is missing, damaged or cut short.
    """
    for path in weight_files(folder):
        for name, entry in header(path)[0].items():
            yield StoredTensor(name, tuple(entry["shape"]), path)


def parameters(folder: Path) -> int:
    """Return the number of values in a checkpoint's tensors."""
    return sum(math.prod(place.shape) for place in places(folder))


def header(path: Path) -> tuple[Mapping[str, Any], int]:
    """Return a safetensors file's entries by name, and the offset of its data; its length agrees with the entries.

    Raises:
        DataError: the file is missing, damaged or cut short.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entries: dict[str, Any] = json.loads(file.read(length))
        size = path.stat().st_size
    except (OSError, ValueError, MemoryError, OverflowError) as error:
        raise _damaged(path, f"cannot be read ({first_line(error)})") from error
    entries.pop("__metadata__", None)
    end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if end != size:
        raise DataError(f"{path} has {size} bytes, but its header says {end}. Get the checkpoint again.")
    return entries, 8 + length


def _damaged(path: Path, what: str) -> DataError:
    """Return the error of a file that cannot be read; a pointer of git-lfs has a remedy of its own."""
    with suppress(OSError), path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            return DataError(f"{path} is a pointer of git-lfs, not the file itself. Run git lfs pull in its folder.")
    return DataError(f"{path} {what}. Get the checkpoint again.")


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
