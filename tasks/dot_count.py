"""Count the dots in the picture: one to six dots of one colour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from PIL import Image, ImageDraw
from typing_extensions import override

from bench import Example, Split

from .drawing import COLORS, SIZE, generator, pale, shade
from .drawn_task import DrawnTask

MOST = 6
_CELL = 16
_QUESTION = "what is the number of dots?"


class DotCount(DrawnTask):
    """Represents counting, as in TallyQA: the number of dots as a digit. Exact match.

    Each split has every number equally often and asks one question, so neither a constant answer nor the question alone
    scores more than chance. The dots of a picture have one size, which differs between pictures: from the coloured area
    alone, the best thresholds give 41.2. On validation chance is 16.8, the base model 0.0 because it names shapes and
    things, and plain LoRA at rank 32 (seed 0) 78.0. Each dot has a cell of a grid to itself: with dots anywhere (radius
    3 to 5) LoRA has 62.4, and 84.0 with cells.
    """

    name: ClassVar[str] = "dot_count"
    paper: ClassVar[str] = "drawn here; stands for TallyQA"
    training_pictures: ClassVar[int] = 2400

    @override
    def _drawn(self, split: Split) -> Iterator[Example]:
        for number in self._numbers(split):
            count = number % MOST + 1
            yield Example(f"{split}-{number}", _QUESTION, (str(count),), _draw(count, split, number))


def _draw(count: int, split: Split, number: int) -> Image.Image:
    rng = generator("dot_count", split, number)
    image = Image.new("RGB", (SIZE, SIZE), pale(rng))
    color, radius = COLORS[rng.choice(tuple(COLORS))], rng.randint(2, 5)
    side = SIZE // _CELL
    for cell in rng.sample(range(side * side), count):
        x, y = (_CELL * place + _CELL // 2 + rng.randint(-2, 2) for place in (cell % side, cell // side))
        box = (x - radius, y - radius, x + radius, y + radius)
        ImageDraw.Draw(image).ellipse(box, fill=shade(color, rng))
    return image
