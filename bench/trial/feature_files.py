"""Keep vision features in files, which all lanes of a machine map into memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from zlib import crc32

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from bench.errors import WriteError, one_line
from bench.model.family import Features
from bench.store.drafts import drafted
from bench.store.shared_folder import Claim, SharedFolder

log = logging.getLogger(__name__)


class FeatureFiles:
    """Groups of features in a folder's files, in the tower's dtype: about ``limit`` bytes, 0 for no files at all.

    Each lane may exceed the limit by 1 %, because it does not list the folder at every write. The least recently used
    file is deleted first. A file that is cut or damaged counts as missing. If the folder cannot be written, one warning
    says so, and features are only read. A group whose key is None has no file.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.limit = limit
        self._folder = SharedFolder(folder, limit, ".safetensors")
        self._writes = limit > 0
        self._whole: set[str] = set()  # files whose checksum this lane has compared or written

    def read(self, key: str | None) -> Sequence[Features] | None:
        """Return a group's features, mapped from its file, or None if there is no such file or it is damaged."""
        if key is None:
            return None
        try:
            with safe_open(self._folder.file(key), "pt") as file:
                names, checksum = file.keys(), file.metadata()["crc32"]
                tensors = {name: file.get_tensor(name) for name in names}
            if key not in self._whole and _checksum(tensors) != checksum:
                return None
        except (OSError, SafetensorError, KeyError, TypeError, RuntimeError):  # torch's own, if another lane deletes it
            return None
        self._whole.add(key)
        self._folder.touch(key)
        return _unpacked(tensors)

    def claim(self, key: str | None, seconds: float = 0.0) -> Claim | None:
        """Return the right to compute a group; None if another lane still computes it after so many seconds.

        Without it, lanes that train on the same examples in the same order would compute every group at the same time.
        """
        return Claim() if key is None or not self._writes else self._folder.claim(key, seconds)

    def write(self, key: str | None, group: Sequence[Features]) -> Sequence[Features]:
        """Write a group's features to its file and return them, mapped from the file if that is possible."""
        tensors = _packed(group)
        size = sum(tensor.nbytes for tensor in tensors.values())
        if key is None or not self._writes or size > self.limit:
            return group
        try:
            self._folder.make_room(size)
            # A power cut may leave a part of the file, which the checksum finds. To wait for the disk would take 69 ms
            # instead of 37 ms for 32 images of LLaVA-1.5.
            with drafted(self._folder.file(key), lasting=False) as draft:
                # save_file would first make a file of its own beside the draft, which only its owner can read and which
                # a kill leaves there for ever
                draft.write_bytes(save(tensors, {"crc32": _checksum(tensors)}))
        except (WriteError, OSError) as error:
            self._give_up(error)
            return group
        self._whole.add(key)
        return self.read(key) or group

    def _give_up(self, error: Exception) -> None:
        self._writes = False
        refused = f"{self._folder.path} cannot be written: {one_line(error)}."
        log.warning(
            "%s Each lane computes its own vision features now. Let BENCH_CACHE name another folder, or give "
            "--feature-files 0.",
            error.reason if isinstance(error, WriteError) else refused,
        )


def _packed(group: Sequence[Features]) -> dict[str, Tensor]:
    """Return the tensors of a group by the number of the image and the tensor's own name."""
    return {f"{place}/{name}": value.contiguous() for place, one in enumerate(group) for name, value in one.items()}


def _unpacked(tensors: Mapping[str, Tensor]) -> Sequence[Features]:
    found: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        place, own = name.split("/", 1)
        found.setdefault(int(place), {})[own] = value
    return [found[place] for place in range(len(found))]


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """Return the CRC-32 of tensors with their names, dtypes and shapes: 2.4 GB in a second, SHA-256 takes 1.8 times."""
    total = 0
    for name, value in sorted(tensors.items()):
        total = crc32(f"{name} {value.dtype} {tuple(value.shape)}".encode(), total)
        total = crc32(value.reshape(-1).view(torch.uint8).numpy().data, total)
    return f"{total:08x}"
