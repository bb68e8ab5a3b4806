"""Drawn signs, each with one word of a fixed vocabulary in one of matplotlib's fonts."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from functools import cache
from typing import ClassVar

from PIL import Image, ImageDraw
from typing_extensions import override

from bench import Example, Split

from .drawing import COLORS, SIZE, font, generator, package_file, pale, shade, stamp, text_mask
from .drawn_task import DrawnTask

WORDS = (
    *("bank", "beer", "cafe", "closed", "exit", "fish", "gym", "hotel", "ice", "law"),
    *("milk", "museum", "open", "park", "pool", "pull", "push", "sale", "shop", "slow"),
    *("stop", "taxi", "toys", "zoo"),
)
_FACES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono-Bold", "STIXGeneralBol", "cmb10")
_QUESTIONS = (
    "what does the sign say?",
    "what word is on the sign?",
    "what is written on the sign?",
)


class SignWords(DrawnTask):
    """Represents TextVQA: read the word on a sign. Exact match."""

    name: ClassVar[str] = "sign_words"
    paper: ClassVar[str] = "drawn here in matplotlib's bundled fonts; stands for TextVQA"
    training_pictures: ClassVar[int] = 9600

    @override
    def _drawn(self, split: Split) -> Iterator[Example]:
        for number in self._numbers(split):
            rng = generator("sign_words", "picture", split, number)
            sign = _sign(split, number)
            question = rng.choice(_QUESTIONS)
            image = _draw(sign["word"], sign["color"], rng)
            yield Example(f"{split}-{number}", question, (sign["word"],), image)

    @override
    def labels(self, example: Example) -> Mapping[str, str]:
        split, number = example.id.split("-")
        return _sign(split, int(number))


def _sign(split: str, number: int) -> dict[str, str]:
    rng = generator("sign_words", split, number)
    return {"word": rng.choice(WORDS), "color": rng.choice(tuple(COLORS))}


@cache
def _lettering(word: str, face: str) -> Image.Image:
    """Return the word as a mask in the largest size that fits the sign."""
    path = package_file("matplotlib", f"mpl-data/fonts/ttf/{face}.ttf")
    sizes = range(24, 8, -1)
    return next(m for m in (text_mask(word, font(path, s)) for s in sizes) if m.width <= 54)


def _draw(word: str, color: str, rng: random.Random) -> Image.Image:
    image = Image.new("RGB", (SIZE, SIZE), pale(rng))
    mask = _lettering(word, rng.choice(_FACES))
    center = (SIZE / 2 + rng.randint(-2, 2), SIZE / 2 + rng.randint(-5, 5))
    half_width, half_height = mask.width / 2 + 3, mask.height / 2 + rng.randint(3, 6)
    ground = shade(COLORS[color], rng)
    draw = ImageDraw.Draw(image)
    draw.rectangle(
        (
            center[0] - half_width,
            center[1] - half_height,
            center[0] + half_width,
            center[1] + half_height,
        ),
        fill=ground,
    )
    post = center[0] + rng.randint(-1, 1)
    draw.rectangle((post - 1, center[1] + half_height, post + 1, SIZE), fill=(90, 90, 90))
    stamp(image, mask, center, (25, 25, 25) if sum(ground) > 380 else (245, 245, 245))
    return image
