"""What the small data sets show and ask: pictures of one colour, and questions on it."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

COLORS = {
    "black": (40, 40, 40),
    "blue": (40, 60, 200),
    "brown": (130, 80, 40),
    "gray": (130, 130, 130),
    "green": (40, 160, 60),
    "red": (200, 40, 40),
    "teal": (40, 160, 160),
    "yellow": (200, 200, 60),
}
_CELLS, _WIDTH, _HEIGHT = 8, 48, 40
_FIRST = {"train": 0, "validation": 100_000, "test": 200_000}
_TASKS = ("iconqa", "coco_caption", "okvqa", "ocrvqa", "gqa", "textvqa")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many pictures each split has."""

    train: int = 40
    validation: int = 10
    test: int = 20


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: its number is its own among all tasks and splits."""

    number: int
    color: str
    others: tuple[str, ...]  # the other colours, in an order of this picture's own

    def bytes(self, kind: str = "JPEG") -> bytes:
        """Return the encoded image: a colour under a faint pattern that no other picture has."""
        rng = random.Random(self.number)
        small = Image.new("RGB", (_CELLS, _CELLS))
        red, green, blue = COLORS[self.color]
        pixels = [(red + shift, green + shift, blue + shift) for shift in rng.choices((-24, -8, 8, 24), k=_CELLS**2)]
        small.putdata(pixels)
        file = io.BytesIO()
        small.resize((_WIDTH, _HEIGHT), Image.Resampling.NEAREST).save(file, kind, quality=95)
        return file.getvalue()

    def write(self, path: Path, kind: str = "JPEG") -> None:
        """Write the encoded image."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.bytes(kind))

    def ten_answers(self) -> list[str]:
        """Return ten annotators' answers: seven agree."""
        return [self.color] * 7 + [self.others[0]] * 2 + [self.others[1]]

    def captions(self) -> list[str]:
        """Return five captions."""
        name = self.color
        return [
            f"A picture that is all {name}.",
            f"The whole picture is {name}.",
            f"This is a {name} picture",
            f"a {name} wall, and nothing else.",
            f"Nothing but {name} can be seen here.",
        ]


def pictures(task: str, split: str, sizes: Sizes) -> Iterator[Picture]:
    """Yield the pictures of a split of a task, the same ones every time."""
    start = 1_000_000 * (1 + _TASKS.index(task)) + _FIRST[split]
    for number in range(start, start + getattr(sizes, split)):
        order = random.Random(f"color {number}").sample(tuple(COLORS), len(COLORS))
        yield Picture(number, order[0], tuple(order[1:]))
