"""Read the images of examples: the one place that opens an image file and converts what is in it."""

from __future__ import annotations

import os
import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import DataError, one_line

if TYPE_CHECKING:
    from PIL.Image import Image


def rgb_image(image: Image | Path) -> Image:
    """Return an example's image in RGB, 8 bits per channel, from memory or from its file.

    The pixels are those of Pillow's ``Image.open(path).convert("RGB")``, as in the original LLaVA: an alpha channel and
    a transparent colour are dropped, an animation gives its first frame, and EXIF's orientation is not applied.

    Raises:
        DataError: the file is not an image that can be decoded, or its pixels have more than 8 bits per channel.
    """
    found = read_image(image)
    if not isinstance(found, str):
        return found
    if isinstance(image, Path):
        raise DataError(
            f"{image} {found}. Put a valid image there, or delete the file and pass "
            "--skip-bad N to tolerate N broken records. bench data check finds all such files."
        )
    raise DataError(f"An image in memory {found}. Correct the task that makes it.")


def read_image(source: Image | Path | BytesIO, *, verify: bool = False) -> Image | str:
    """Return an image in RGB, or why it cannot be used, as the end of a sentence, such as "is missing".

    With ``verify``, the checksums inside a file are compared too.
    """
    from PIL import Image as Pillow

    try:
        if isinstance(source, Pillow.Image):
            return _too_deep(source) or _rgb(source)
        if verify:
            with Pillow.open(source) as image:
                image.verify()
        with Pillow.open(source) as image:
            return _too_deep(image) or _rgb(image)
    except Exception as error:  # noqa: BLE001  Pillow's decoders raise many kinds of errors
        return _why(source, error)


def image_fault(path: Path) -> str:
    """Return why an image file cannot be used, or an empty string; only the file's header is read.

    The reason is the end of a sentence, such as "is missing". A file that is cut off may pass.
    """
    from PIL import Image as Pillow

    try:
        with Pillow.open(path) as image:
            return _too_deep(image)
    except Exception as error:  # noqa: BLE001  Pillow's decoders raise many kinds of errors
        return _why(path, error)


def _rgb(image: Image) -> Image:
    """Convert an image to RGB without its transparent colour.

    Pillow keeps a note of that colour in the converted image, and transformers pastes an image with such a note onto a
    white background.
    """
    image.load()
    if "transparency" in image.info:
        image = image.copy()
        del image.info["transparency"]
    return image.convert("RGB")


def _too_deep(image: Image) -> str:
    """Return why an image with more than 8 bits per channel cannot be used; Pillow would clip it at 255."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return ""
    kind = "floating-point" if image.mode == "F" else "16-bit or 32-bit"
    return f"has {kind} pixels (mode {image.mode}), which RGB would clip at 255; save it with 8 bits per channel"


def _why(source: Image | Path | BytesIO, error: Exception) -> str:
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    if isinstance(source, Path) and not os.path.isfile(source):  # noqa: PTH113  a name may be too long for a file
        return "is a folder, not an image" if os.path.isdir(source) else "is missing"  # noqa: PTH112
    if isinstance(error, Pillow.DecompressionBombError):
        pixels, *limit = (f"{int(number):,}" for number in re.findall(r"\d+", str(error)))
        return f"has {pixels} pixels, and at most {' '.join(limit)} are read; put a smaller one there"
    if isinstance(error, UnidentifiedImageError) and isinstance(source, Path | BytesIO):
        size = source.stat().st_size if isinstance(source, Path) else len(source.getvalue())
        return f"is not an image that Pillow can read ({size:,} bytes)" if size else "is an empty file (0 bytes)"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return f"cannot be decoded: {one_line(error)}".replace(f" {str(source)!r}", "")
