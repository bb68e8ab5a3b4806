"""Choose the letter of the option that names the icon; no other task uses these icons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from typing_extensions import override

from bench import Example, Split

from .drawing import generator
from .drawn_task import DrawnTask
from .icons import picture

ICONS = ("anchor", "cloud", "crown", "gift", "heart", "magnet", "rocket", "skull")
LETTERS = ("A", "B", "C", "D")


class IconChoice(DrawnTask):
    """Represents IconQA (choose_txt): four named options in any order; the answer is the bare letter.

    As in the paper's scorer, "A." is wrong. The base model can already look up options; it has to learn the icons.
    """

    name: ClassVar[str] = "icon_choice"
    paper: ClassVar[str] = "drawn here from qtawesome's icon fonts; stands for IconQA"
    training_pictures: ClassVar[int] = 2400

    @override
    def _drawn(self, split: Split) -> Iterator[Example]:
        for number in self._numbers(split):
            rng = generator("icon_choice", split, number)
            options = rng.sample(ICONS, len(LETTERS))
            right = rng.randrange(len(LETTERS))
            lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True)]
            question = "\n".join(["which of these is in the picture?", *lines])
            image = picture(options[right], rng)
            yield Example(f"{split}-{number}", question, (LETTERS[right],), image)
