"""How a picture looks: whether it can be drawn, its digest, and what stays of it when it is scaled or saved anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import fingerprint
from bench.api import Example

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE = 8
_MOST_READERS = 8


@dataclass(frozen=True, slots=True)
class Look:
    """A picture's digest (SHA-256 of file or pixels), its dHash of 64 bits, and its 8x8 RGB miniature, [192] bytes."""

    digest: bytes
    dhash: int
    tiny: bytes


def look_at(examples: Iterable[Example], advance: Callable[[int], None] = lambda count: None) -> list[Look | str]:
    """Return how each example's picture looks, or why it cannot be drawn."""

    def one(example: Example) -> Look | str:
        found = look(example)
        advance(1)
        return found

    with ThreadPoolExecutor(min(_MOST_READERS, os.cpu_count() or 1)) as readers:
        return list(readers.map(one, examples))


def look(example: Example) -> Look | str:
    """Return how an example's picture looks, or why it cannot be drawn."""
    from PIL import Image

    if not isinstance(example.image, Path):
        return _look(example, example.image)
    try:
        with Image.open(example.image) as image:
            image.verify()
        with Image.open(example.image) as image:
            image.load()
            return _look(example, image)
    except FileNotFoundError:
        return "it is missing"
    except Exception as error:  # noqa: BLE001  Pillow raises what its many decoders raise
        return f"it cannot be drawn: {error}".replace(repr(str(example.image)), "the file")


def dhash(image: Image) -> int:
    """Return 64 bits: whether each of 8x8 places is darker than its right neighbour, rows from the top."""
    gray = np.asarray(image.convert("L").resize((_SIDE + 1, _SIDE)), dtype=np.int16)
    return int.from_bytes(np.packbits(gray[:, :-1] < gray[:, 1:]).tobytes(), "big")


def _look(example: Example, image: Image) -> Look:
    colour = image.convert("RGB")
    tiny = np.asarray(colour.resize((_SIDE, _SIDE)), dtype=np.uint8).tobytes()
    return Look(fingerprint.of_image(example), dhash(colour), tiny)
