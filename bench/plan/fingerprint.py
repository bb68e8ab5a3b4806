"""The digest of examples: the part of an id that changes when a task's data do."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from bench.file_digests import of_files
from bench.plugins.source import LENGTH
from bench.spec import digest

if TYPE_CHECKING:
    from bench.plugins.task import Example

_AT_ONCE = 2_000  # examples whose files are looked up together


def of_examples(examples: Sequence[Example], prompts: Sequence[str]) -> str:
    """Return the digest of examples: ids, prompts, answers and the pixels of every image."""
    total = hashlib.sha256()
    pairs = zip(examples, prompts, strict=True)
    pixels: dict[int, tuple[object, bytes]] = {}  # the image too: an id is unique only while it lives
    while some := list(islice(pairs, _AT_ONCE)):
        files = of_files(example.image for example, _ in some if isinstance(example.image, Path))
        for example, prompt in some:
            total.update(digest([example.id, prompt, list(example.answers)]).encode())
            if isinstance(example.image, Path):
                total.update(files[example.image])
                continue
            key = id(example.image)
            if key not in pixels:
                pixels[key] = (example.image, of_image(example))
            total.update(pixels[key][1])
    return total.hexdigest()[:LENGTH]


def of_image(example: Example) -> bytes:
    """Return the digest of an example's image: of its file as it lies there, or of its pixels."""
    if isinstance(example.image, Path):
        return hashlib.sha256(example.image.read_bytes()).digest()
    content = f"{example.image.mode}{example.image.size}".encode() + example.image.tobytes()
    return hashlib.sha256(content).digest()
