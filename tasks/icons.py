"""Icons by name from the fonts in qtawesome, a package that is never imported because it needs Qt."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path

from PIL import Image

from .drawing import COLORS, SIZE, font, package_file, pale, shade, stamp, text_mask

_FONTS = {
    "materialdesignicons6-webfont": "",
    "fontawesome6-solid-webfont": "",
    "phosphor": "-fill",
}


@cache
def _characters(name: str) -> dict[str, str]:
    suffix = _FONTS[name]
    charmap = package_file("qtawesome", f"fonts/{name}-charmap-*.json")
    codes: dict[str, str] = json.loads(charmap.read_text())
    return {icon.removesuffix(suffix): chr(int(code, 16)) for icon, code in codes.items() if icon.endswith(suffix)}


@cache
def _font_file(name: str) -> Path:
    return package_file("qtawesome", f"fonts/{name}-[0-9]*.ttf")


@cache
def styles(icon: str) -> tuple[str, ...]:
    """Return the fonts that contain the icon."""
    return tuple(name for name in _FONTS if icon in _characters(name))


def icon_mask(icon: str, style: str, size: int, angle: float = 0.0) -> Image.Image:
    """Return the icon in one of its ``styles`` as a mask that is about ``size`` pixels high."""
    return text_mask(_characters(style)[icon], font(_font_file(style), size), angle)


def picture(icon: str, rng: random.Random) -> Image.Image:
    """Return the icon on another background colour; ``rng`` draws style, size, place and colours."""
    color, ground = rng.sample(tuple(COLORS.values()), 2)
    contrast = abs(sum(color) - sum(ground)) > 150
    plain = shade(ground, rng) if contrast and rng.random() < 0.5 else pale(rng)
    image = Image.new("RGB", (SIZE, SIZE), plain)
    mask = icon_mask(icon, rng.choice(styles(icon)), rng.randint(44, 56), rng.uniform(-8, 8))
    center = (SIZE / 2 + rng.randint(-3, 3), SIZE / 2 + rng.randint(-3, 3))
    stamp(image, mask, center, shade(color, rng))
    return image
