"""Drawn book covers, each with one real handwritten digit from scikit-learn."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
from PIL import Image, ImageDraw
from typing_extensions import override

from bench import Example, Split

from .drawing import COLORS, SIZE, Rgb, generator, package_file, pale, shade, stamp
from .drawn_task import DrawnTask

DECORATIONS = ("stripes", "dots", "border", "band")
_QUESTIONS = {
    "digit": ("what number is on the cover?", "which digit is printed on the book?"),
    "color": ("what color is the book?", "what is the color of the cover?"),
    "decoration": ("what decoration is on the book?", "how is the cover decorated?"),
}
_KINDS = tuple(_QUESTIONS)
_WEIGHTS = (6, 2, 2)
# Digits by split: no handwriting is in two splits.
_DIGITS = {"train": (0, 1147), "validation": (1147, 1397), "test": (1397, 1797)}

Box = tuple[int, int, int, int]


class CoverDigits(DrawnTask):
    """Represents OCR-VQA: read a book cover. Six questions in ten ask for the handwritten digit."""

    name: ClassVar[str] = "cover_digits"
    paper: ClassVar[str] = "https://archive.ics.uci.edu/dataset/80 through scikit-learn; for OCR-VQA"
    training_pictures: ClassVar[int] = 6000

    @override
    def _drawn(self, split: Split) -> Iterator[Example]:
        for number in self._numbers(split):
            rng = generator("cover_digits", "question", split, number)
            cover = _cover(split, number)
            image = _draw(cover, generator("cover_digits", "picture", split, number))
            kinds = _KINDS if split == "train" else rng.choices(_KINDS, _WEIGHTS)
            for kind in kinds:
                question = rng.choice(_QUESTIONS[kind])
                yield Example(f"{split}-{number}-{kind}", question, (cover.words[kind],), image)

    @override
    def labels(self, example: Example) -> Mapping[str, str]:
        split, number, _ = example.id.split("-")
        return _cover(split, int(number)).words


@dataclass(frozen=True, slots=True)
class _Cover:
    digit: int  # index into the shuffled digits
    words: Mapping[str, str]


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Return the 8x8 pixels and the digits in one fixed shuffled order.

    The function reads the file itself, because importing sklearn takes seconds.
    """
    path = package_file("sklearn", "datasets/data/digits.csv.gz")
    rows = np.loadtxt(path, delimiter=",")
    order = list(range(len(rows)))
    generator("cover_digits").shuffle(order)
    pixels = rows[order, :-1].reshape(-1, 8, 8) * (255 / 16)
    return pixels.astype(np.uint8), rows[order, -1].astype(int)


def _cover(split: str, number: int) -> _Cover:
    rng = generator("cover_digits", split, number)
    start, stop = _DIGITS[split]
    index = start + number % (stop - start)
    words = {
        "digit": str(_digits()[1][index]),
        "color": rng.choice(tuple(COLORS)),
        "decoration": rng.choice(DECORATIONS),
    }
    return _Cover(index, words)


def _draw(cover: _Cover, rng: random.Random) -> Image.Image:
    image = Image.new("RGB", (SIZE, SIZE), pale(rng))
    left, top = rng.randint(4, 10), rng.randint(1, 5)
    box = (left, top, left + rng.randint(46, 50), top + rng.randint(55, 57))
    draw = ImageDraw.Draw(image)
    ground = shade(COLORS[cover.words["color"]], rng)
    draw.rectangle(box, fill=ground)
    light = sum(ground) > 380
    _decorate(draw, box, cover.words["decoration"], (35, 35, 35) if light else (225, 225, 225))
    _write(image, box, cover.digit, rng)
    return image


def _decorate(draw: ImageDraw.ImageDraw, box: Box, decoration: str, ink: Rgb) -> None:
    left, top, right, bottom = box
    if decoration == "stripes":
        for y in (bottom - 3, bottom - 7, bottom - 11):
            draw.line((left, y, right, y), fill=ink)
    elif decoration == "dots":
        for x in range(left + 6, right - 2, 9):
            draw.ellipse((x, bottom - 9, x + 4, bottom - 5), fill=ink)
    elif decoration == "border":
        draw.rectangle((left + 2, top + 2, right - 2, bottom - 2), outline=ink)
    else:
        draw.rectangle((left, bottom - 10, right, bottom - 4), fill=ink)


def _write(image: Image.Image, box: Box, digit: int, rng: random.Random) -> None:
    """Paint the digit on a white label in the upper part of the cover."""
    side = rng.randint(32, 36)
    x = (box[0] + box[2]) / 2 + rng.randint(-3, 3)
    y = box[1] + 5 + side / 2 + rng.randint(0, 3)
    label = Image.new("L", (side, side), 255)
    stamp(image, label, (x, y), pale(rng))
    mask = Image.fromarray(_digits()[0][digit]).resize((side, side), Image.Resampling.BICUBIC)
    stamp(image, mask, (x, y), shade((45, 45, 45), rng, 40))
