"""Drawing tools for the pictures of ``micro``: a canvas size, colours, fonts, named generators."""

from __future__ import annotations

import random
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from bench import DataError

SIZE = 64

Rgb = tuple[int, int, int]

COLORS: dict[str, Rgb] = {
    "black": (20, 20, 20),
    "blue": (40, 40, 230),
    "brown": (130, 75, 30),
    "gray": (125, 125, 125),
    "green": (30, 165, 50),
    "red": (225, 30, 35),
    "teal": (20, 160, 165),
    "yellow": (235, 215, 30),
}


def generator(*parts: str | int) -> random.Random:
    """Return a generator that depends only on the given names and numbers."""
    return random.Random("/".join(map(str, parts)))


def shade(color: Rgb, rng: random.Random, spread: int = 15) -> Rgb:
    """Return the colour with each channel shifted by at most ``spread``."""
    red, green, blue = (min(255, max(0, c + rng.randint(-spread, spread))) for c in color)
    return red, green, blue


def pale(rng: random.Random) -> Rgb:
    """Return a light background colour that contrasts with every named colour."""
    return rng.randint(205, 255), rng.randint(205, 255), rng.randint(205, 255)


def package_file(package: str, pattern: str) -> Path:
    """Return the last file of an installed package that matches the pattern, without importing it.

    Raises:
        DataError: the package is not installed, or has no file that matches.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise DataError(f"The package {package} is not installed. Run: pip install {package}")
    found = sorted(Path(spec.origin).parent.glob(pattern))
    if not found:
        raise DataError(f"{Path(spec.origin).parent} has no {pattern}. Reinstall {package}.")
    return found[-1]


@cache
def font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    """Return a font of the given height in pixels."""
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def stamp(image: Image.Image, mask: Image.Image, center: tuple[float, float], color: Rgb) -> None:
    """Paint ``color`` through the mask, with the middle of the mask at ``center``."""
    left, top = round(center[0] - mask.width / 2), round(center[1] - mask.height / 2)
    image.paste(color, (left, top), mask)


def text_mask(text: str, face: ImageFont.FreeTypeFont, angle: float = 0.0) -> Image.Image:
    """Return the text as a tight mask, rotated by ``angle`` degrees."""
    left, top, right, bottom = face.getbbox(text)
    mask = Image.new("L", (round(right - left), round(bottom - top)))
    ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=face)
    if angle:
        mask = mask.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    return mask
