"""Choose the letter of the option that names the icon; no other task uses these icons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import ClassVar

import numpy as np
from typing_extensions import override

from bench import Example, Split, Task

from .drawing import generator
from .exact_match import score_exact
from .icons import picture

ICONS = ("anchor", "cloud", "crown", "gift", "heart", "magnet", "rocket", "skull")
LETTERS = ("A", "B", "C", "D")
_PICTURES = {"train": 2400, "validation": 250, "test": 400}


class IconChoice(Task):
    """Represents IconQA (choose_txt): four named options in any order; the answer is the bare letter.

    As in the paper's scorer, "A." is wrong. The base model can already look up options; it has to learn the icons.
    """

    name: ClassVar[str] = "icon_choice"
    paper: ClassVar[str] = "drawn here from qtawesome's icon fonts; stands for IconQA"
    primary: ClassVar[str] = "exact"
    max_new_tokens: ClassVar[int] = 4

    @override
    def examples(self, split: Split) -> Sequence[Example]:
        return _examples(split)

    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        return score_exact(examples, predictions)


@cache
def _examples(split: Split) -> tuple[Example, ...]:
    examples = []
    for number in range(_PICTURES[split]):
        rng = generator("icon_choice", split, number)
        options = rng.sample(ICONS, len(LETTERS))
        right = rng.randrange(len(LETTERS))
        lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True)]
        question = "\n".join(["which of these is in the picture?", *lines])
        image = picture(options[right], rng)
        examples.append(Example(f"{split}-{number}", question, (LETTERS[right],), image))
    return tuple(examples)
