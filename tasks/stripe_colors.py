"""Say the colours of three upright stripes in their order."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import ClassVar

from PIL import Image, ImageDraw
from typing_extensions import override

from bench import Example, Split

from .drawing import COLORS, SIZE, generator, pale, shade
from .drawn_task import DrawnTask

_EDGES = ((0, 3), (17, 21), (42, 46), (60, 63))  # where a stripe begins or ends; LoRA misses the middle one most
_QUESTION = "say the color of the stripes from left to right"


class StripeColors(DrawnTask):
    """Represents attributes in spatial order: three colours from left to right. Exact match on the three words.

    The colours differ and all 336 orders are equally likely, so the question alone tells nothing, and the colours
    without their order give one in six. On validation chance is 1.6, the base model 0.0 because it names one thing, and
    plain LoRA at rank 32 (seed 0) 78.0.
    """

    name: ClassVar[str] = "stripe_colors"
    paper: ClassVar[str] = "drawn here; stands for questions on what is where"
    training_pictures: ClassVar[int] = 2400

    @override
    def _drawn(self, split: Split) -> Iterator[Example]:
        for number in self._numbers(split):
            rng = generator("stripe_colors", split, number)
            colors = rng.sample(tuple(COLORS), len(_EDGES) - 1)
            yield Example(f"{split}-{number}", _QUESTION, (" ".join(colors),), _draw(colors, rng))


def _draw(colors: Sequence[str], rng: random.Random) -> Image.Image:
    image = Image.new("RGB", (SIZE, SIZE), pale(rng))
    top, bottom = rng.randint(1, 7), rng.randint(56, 62)
    edges = [rng.randint(*between) for between in _EDGES]
    for color, left, right in zip(colors, edges, edges[1:], strict=False):
        ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom), fill=shade(COLORS[color], rng))
    return image
