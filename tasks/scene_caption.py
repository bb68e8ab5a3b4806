"""Describe a scene in one sentence: two coloured objects and their relative position."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
from PIL import Image, ImageDraw
from typing_extensions import override

from bench import Example, Split

from .cider import cider
from .drawing import COLORS, SIZE, Rgb, generator, pale, shade
from .drawn_task import DrawnTask

OBJECTS = ("circle", "cross", "diamond", "rectangle", "ring", "triangle")
_OPPOSITE = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
}
RELATIONS = tuple(_OPPOSITE)
_QUESTION = "describe the picture in one sentence"


class SceneCaption(DrawnTask):
    """Represents COCO-Caption: five references per image, CIDEr on white-space tokens.

    The captions are lower-case words without punctuation. On such captions, white-space tokens equal the Penn Treebank
    tokens of the official scorer (tested).
    """

    name: ClassVar[str] = "scene_caption"
    paper: ClassVar[str] = "drawn here; stands for COCO-Caption"
    primary: ClassVar[str] = "cider"
    highest: ClassVar[Mapping[str, float]] = {"cider": 10.0}
    max_new_tokens: ClassVar[int] = 16
    training_pictures: ClassVar[int] = 2400

    @override
    def _drawn(self, split: Split) -> Iterator[Example]:
        for number in self._numbers(split):
            rng = generator("scene_caption", split, number)
            colors = rng.sample(tuple(COLORS), 2)
            objects = rng.choices(OBJECTS, k=2)
            relation = rng.choice(RELATIONS)
            image = _draw(colors, objects, relation, rng)
            first, second = (f"{c} {o}" for c, o in zip(colors, objects, strict=True))
            captions = list(references(first, relation, second))
            rng.shuffle(captions)
            yield Example(f"{split}-{number}", _QUESTION, tuple(captions), image)

    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {"cider": cider([e.answers for e in examples], predictions)}


def references(first: str, relation: str, second: str) -> tuple[str, ...]:
    """Return five captions that say "a <first> <relation> a <second>"."""
    return (
        f"a {first} {relation} a {second}",
        f"a {second} {_OPPOSITE[relation]} a {first}",
        f"there is a {first} {relation} a {second}",
        f"the {first} is {relation} the {second}",
        f"a picture of a {first} and a {second}",
    )


def _draw(colors: Sequence[str], objects: Sequence[str], relation: str, rng: random.Random) -> Image.Image:
    image = Image.new("RGB", (SIZE, SIZE), pale(rng))
    near, far = SIZE * 0.27, SIZE * 0.73
    across = SIZE / 2 + rng.randint(-8, 8)
    before, after = (near, across), (far, across)
    if relation in ("above", "below"):
        before, after = (across, near), (across, far)
    if relation in ("to the right of", "below"):
        before, after = after, before
    for color, kind, center in zip(colors, objects, (before, after), strict=True):
        radius = rng.randint(10, 13)
        x, y = (value + rng.randint(-2, 2) for value in center)
        box = (x - radius, y - radius, x + radius, y + radius)
        _object(ImageDraw.Draw(image), kind, box, shade(COLORS[color], rng))
    return image


def _object(draw: ImageDraw.ImageDraw, kind: str, box: tuple[float, float, float, float], color: Rgb) -> None:
    left, top, right, bottom = box
    x, y = (left + right) / 2, (top + bottom) / 2
    third = (right - left) / 3
    if kind == "circle":
        draw.ellipse(box, fill=color)
    elif kind == "ring":
        draw.ellipse(box, outline=color, width=4)
    elif kind == "rectangle":
        draw.rectangle((left, top + third / 2, right, bottom - third / 2), fill=color)
    elif kind == "triangle":
        draw.polygon([(x, top), (right, bottom), (left, bottom)], fill=color)
    elif kind == "diamond":
        draw.polygon([(x, top), (right, y), (x, bottom), (left, y)], fill=color)
    else:
        draw.rectangle((left, y - third / 2, right, y + third / 2), fill=color)
        draw.rectangle((x - third / 2, top, x + third / 2, bottom), fill=color)
