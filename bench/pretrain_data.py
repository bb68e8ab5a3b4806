"""What the embedded base model is trained on: the source tasks' training pictures, asked in many ways."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from bench.api import Example, Split, Task

LETTERS = ("A", "B", "C", "D")
TEMPLATE = "USER: <image>\n{prompt} ASSISTANT:"

_NAME_QUESTION = "what is this?"
_CHOICE_QUESTION = "which of these is in the picture?"
_DESCRIBE = ("describe the picture", "what is in the picture?", "what do you see?")
MIX = {"short": 10, "letters": 8, "name": 2, "describe": 3}
_UNSEEN_OPTION = 0.15  # share of wrong options that are words the sources never use as an answer


@dataclass(frozen=True, slots=True)
class Picture:
    """One training picture: its pixels [height, width, 3], what is known of it, what is asked about it."""

    task: str
    pixels: np.ndarray
    labels: Mapping[str, str]
    asked: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Lesson:
    """One question about one picture (by its number in the album) and the answer to learn."""

    picture: int
    prompt: str
    answer: str


def words(text: str) -> list[str]:
    """Split a text as the tokenizer does: at white space, each punctuation mark alone."""
    return re.findall(r"\w+|[^\w\s]", text)


def pixels(example: Example) -> np.ndarray:
    """Return the example's picture as uint8 [height, width, 3]."""
    image = example.image
    if not isinstance(image, Image.Image):
        with Image.open(image) as opened:
            return np.asarray(opened.convert("RGB"))
    return np.asarray(image.convert("RGB"))


def pictures(task: Task, split: Split) -> list[Picture]:
    """Return a split's pictures, each once, with all that is asked about it."""
    by_image: dict[object, list[Example]] = defaultdict(list)
    for example in task.examples(split):
        image = example.image
        by_image[id(image) if isinstance(image, Image.Image) else image].append(example)
    return [Picture(task.name, pixels(asked[0]), task.labels(asked[0]), tuple(asked)) for asked in by_image.values()]


@dataclass(frozen=True)
class Album:
    """All training pictures of the sources, and the words that only the targets use."""

    pictures: Sequence[Picture]
    unseen: Sequence[str]

    @cached_property
    def by_task(self) -> Mapping[str, Sequence[int]]:
        """Return the numbers of each task's pictures."""
        found: dict[str, list[int]] = defaultdict(list)
        for number, picture in enumerate(self.pictures):
            found[picture.task].append(number)
        return found

    @cached_property
    def known(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """Return, by task and kind of label, every value that occurs."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for picture in self.pictures:
            for kind, value in picture.labels.items():
                found[picture.task, kind].add(value)
        return {key: sorted(values) for key, values in found.items()}

    @cached_property
    def replies(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """Return, by task and question, the answers that may stand as options beside the right one."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for picture in self.pictures:
            for example in picture.asked:
                found[picture.task, example.question].update(example.answers)
        return {key: sorted(values) for key, values in found.items() if len(values) > len(LETTERS)}

    def lesson(self, rng: random.Random, form: str) -> Lesson:
        """Draw a lesson of one form, each source equally often."""
        number = rng.choice(self.by_task[rng.choice(sorted(self.by_task))])
        picture = self.pictures[number]
        if form == "describe":
            return Lesson(number, rng.choice(_DESCRIBE), description(picture))
        if form == "name":
            return Lesson(number, *self._name(picture, rng))
        if form == "letters":
            return Lesson(number, *self._letters(picture, rng))
        example = rng.choice(picture.asked)
        return Lesson(number, example.question, example.answers[0])

    def forms(self, rng: random.Random, count: int) -> list[str]:
        """Draw the forms of a batch."""
        return rng.choices(tuple(MIX), tuple(MIX.values()), k=count)

    def _name(self, picture: Picture, rng: random.Random) -> tuple[str, str]:
        kind = rng.choice(sorted(picture.labels))
        question = _NAME_QUESTION if kind in ("thing", "shape", "word", "digit") else f"what {kind}?"
        return question, picture.labels[kind]

    def _letters(self, picture: Picture, rng: random.Random) -> tuple[str, str]:
        example = rng.choice(picture.asked)
        options = self.replies.get((picture.task, example.question))
        if options is not None and rng.random() < 0.4:
            right, wrong = example.answers[0], set(options) - set(example.answers)
            return self._choice(example.question, right, sorted(wrong), rng)
        kind = rng.choice(sorted(picture.labels))
        same = self.known[picture.task, kind]
        pool = same if rng.random() < 0.7 else [v for values in self.known.values() for v in values]
        wrong = set(pool) - set(picture.labels.values())
        return self._choice(_CHOICE_QUESTION, picture.labels[kind], sorted(wrong), rng)

    def _choice(self, question: str, right: str, wrong: Sequence[str], rng: random.Random) -> tuple[str, str]:
        unseen = [word for word in self.unseen if rng.random() < _UNSEEN_OPTION]
        others = rng.sample(wrong, min(len(LETTERS) - 1, len(wrong)))
        for place in range(len(others)):
            if unseen and rng.random() < _UNSEEN_OPTION:
                others[place] = unseen.pop(rng.randrange(len(unseen)))
        while len(others) < len(LETTERS) - 1:
            others.append(rng.choice([word for word in self.unseen if word not in others]))
        options = [right, *others]
        rng.shuffle(options)
        return choice(question, options), LETTERS[options.index(right)]


def choice(question: str, options: Sequence[str]) -> str:
    """Return the question with its options, one to a line, by letter."""
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True)]
    return "\n".join([question, *lines])


def description(picture: Picture) -> str:
    """Return a short description made of what is known of the picture."""
    known = picture.labels
    if "shape" in known:
        return f"a {known['color']} {known['shape']}" if "color" in known else f"a {known['shape']}"
    if "digit" in known:
        return f"a {known['color']} book with a {known['digit']}"
    if "word" in known:
        return f"a {known['color']} sign that says {known['word']}"
    return f"a {' '.join(known.values())}"
