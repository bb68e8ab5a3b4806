"""Measure how an image looks, so that a scaled or recompressed copy can be recognised."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.file_digests import of_files
from bench.plan import fingerprint
from bench.plugins.images import read_image
from bench.plugins.task import Example

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE = 8
_MOST_READERS = 8


@dataclass(frozen=True, slots=True)
class Look:
    """An image's digest (SHA-256 of file or pixels), 64-bit dHash, and 8x8 RGB miniature of 192 bytes."""

    digest: bytes
    dhash: int
    tiny: bytes


def look_at(examples: Sequence[Example], advance: Callable[[int], None] = lambda count: None) -> list[Look | str]:
    """Return the look of each example's picture, or the reason why the picture cannot be decoded."""

    images = [example.image for example in examples]
    digests = of_files(image for image in images if isinstance(image, Path) and image.is_file())

    def one(example: Example) -> Look | str:
        digest = digests.get(example.image) if isinstance(example.image, Path) else fingerprint.of_image(example)
        found = _look(example.image, digest)
        advance(1)
        return found

    with ThreadPoolExecutor(min(_MOST_READERS, os.cpu_count() or 1)) as readers:
        return list(readers.map(one, examples))


def _look(picture: Image | Path, digest: bytes | None) -> Look | str:
    found = read_image(picture, verify=True)
    return f"it {found}" if isinstance(found, str) else _measured(found, digest)


def dhash(image: Image) -> int:
    """Return 64 bits, row by row: whether each of 8x8 pixels is darker than its right neighbour."""
    gray = np.asarray(image.convert("L").resize((_SIDE + 1, _SIDE)), dtype=np.int16)
    return int.from_bytes(np.packbits(gray[:, :-1] < gray[:, 1:]).tobytes(), "big")


def _measured(colour: Image, digest: bytes | None) -> Look:
    tiny = np.asarray(colour.resize((_SIDE, _SIDE)), dtype=np.uint8).tobytes()
    return Look(digest or b"", dhash(colour), tiny)
