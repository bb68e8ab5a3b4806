"""The lessons of the embedded base model: the sources' training images, with many kinds of question."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from PIL import Image

from bench.plugins.images import rgb_image
from bench.plugins.task import Example, Split, Task

SOURCES = ("easy_vqa", "cover_digits", "sign_words", "thing_facts")
TARGETS = ("icon_choice", "scene_caption")

LETTERS = ("A", "B", "C", "D")

_NAME_QUESTION = "what is this?"
_CHOICE_QUESTION = "which of these is in the picture?"
_DESCRIBE = ("describe the picture", "what is in the picture?", "what do you see?")
_SENTENCES = {
    "say what you see in one sentence": "there is {}",
    "write a sentence about the picture": "the picture shows {}",
    "what is this a picture of?": "a picture of {}",
}
MIX = {"short": 10, "letters": 8, "name": 2, "describe": 2, "sentence": 2}  # shares of the forms with images
TEXTS = {"lookup": 8, "repeat": 2, "told": 10}  # shares of the text-only forms
_TURNS = 6  # questions in a lookup


@dataclass(frozen=True, slots=True)
class Picture:
    """One training image: its pixels [height, width, 3], its known labels, the questions about it."""

    task: str
    pixels: np.ndarray
    labels: Mapping[str, str]
    asked: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and the answer to learn."""

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Lesson:
    """Questions about one scene: an image's number in the album, or words that replace an image."""

    scene: int | tuple[str, ...]
    turns: tuple[Turn, ...]

    @property
    def has_options(self) -> bool:
        """Whether the first question lists options, which makes it long."""
        return "\n" in self.turns[0].prompt


def words(text: str) -> list[str]:
    """Split a text as the tokenizer does: at white space, with each punctuation mark as a word of its own."""
    return re.findall(r"\w+|[^\w\s]", text)


def pixels(example: Example) -> np.ndarray:
    """Return the example's image as uint8 [height, width, 3]."""
    return np.asarray(rgb_image(example.image))


def pictures(task: Task, split: Split) -> list[Picture]:
    """Return each image of a split once, with all questions about it."""
    by_image: dict[object, list[Example]] = defaultdict(list)
    for example in task.examples(split):
        image = example.image
        by_image[id(image) if isinstance(image, Image.Image) else image].append(example)
    return [Picture(task.name, pixels(asked[0]), task.labels(asked[0]), tuple(asked)) for asked in by_image.values()]


@dataclass(frozen=True)
class Album:
    """All training images of the sources, the option words that only targets use, and all words."""

    pictures: Sequence[Picture]
    unseen: Sequence[str]
    vocabulary: Sequence[str] = ()

    @cached_property
    def by_task(self) -> Mapping[str, Sequence[int]]:
        """Return the numbers of each task's images."""
        found: dict[str, list[int]] = defaultdict(list)
        for number, picture in enumerate(self.pictures):
            found[picture.task].append(number)
        return found

    @cached_property
    def known(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """Return every value that occurs, by task and kind of label."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for picture in self.pictures:
            for kind, value in picture.labels.items():
                found[picture.task, kind].add(value)
        return {key: sorted(values) for key, values in found.items()}

    @cached_property
    def replies(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """Return the answers that may serve as options, by task and question."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for picture in self.pictures:
            for example in picture.asked:
                found[picture.task, example.question].update(example.answers)
        return {key: sorted(values) for key, values in found.items() if len(values) > len(LETTERS)}

    @cached_property
    def speakable(self) -> Sequence[str]:
        """Return every lower-case word of the vocabulary."""
        return [word for word in self.vocabulary if word.islower()]

    @cached_property
    def options(self) -> Sequence[str]:
        """Return every word that may serve as an option, including the option words of the targets."""
        labels = {value for values in self.known.values() for value in values}
        replies = {value for values in self.replies.values() for value in values}
        return sorted({*labels, *replies, *self.unseen})

    def lessons(self, rng: random.Random, count: int) -> list[Lesson]:
        """Draw lessons about images: each source is equally likely, each form has its share."""
        return [self._lesson(rng, form) for form in rng.choices(tuple(MIX), tuple(MIX.values()), k=count)]

    def lookups(self, rng: random.Random, count: int) -> list[Lesson]:
        """Draw the simplest lessons: a scene of one word, four options, and the letters as answers."""
        return [self._lookup(rng, 1) for _ in range(count)]

    def texts(self, rng: random.Random, count: int, length: int) -> list[Lesson]:
        """Draw lessons without images: up to ``length`` words replace the tokens of an image."""
        forms = rng.choices(tuple(TEXTS), tuple(TEXTS.values()), k=count)
        return [self._text(rng, form, rng.randint(1, length)) for form in forms]

    def _text(self, rng: random.Random, form: str, length: int) -> Lesson:
        if form == "told":
            return self._told(rng, length)
        return self._lookup(rng, length) if form == "lookup" else self._repeat(rng, length)

    def _repeat(self, rng: random.Random, length: int) -> Lesson:
        """Draw words to repeat, so that the decoder can also say words that no source asks for."""
        said = " ".join(rng.sample(self.speakable, rng.randint(2, 6)))
        return Lesson(tuple(rng.choices(self.options, k=length)), (Turn(f"repeat: {said}", said),))

    def _told(self, rng: random.Random, length: int) -> Lesson:
        """Draw a lesson about an image, and show the image's labels instead of the image."""
        (lesson,) = self.lessons(rng, 1)
        assert isinstance(lesson.scene, int)
        known = list(self.pictures[lesson.scene].labels.values())
        scene = [*known, *rng.choices(known, k=max(0, length - len(known)))]
        rng.shuffle(scene)
        return replace(lesson, scene=tuple(scene))

    def _lookup(self, rng: random.Random, length: int) -> Lesson:
        """Draw any words as options; ask for the letter of the word in the scene, then for letters by word."""
        shown = rng.sample(self.options, len(LETTERS))
        asked = rng.choices(shown, k=_TURNS)
        scene = [asked[0], *rng.choices([asked[0], *rng.sample(self.options, 2)], k=length - 1)]
        rng.shuffle(scene)
        first = Turn(choice(_CHOICE_QUESTION, shown), LETTERS[shown.index(asked[0])])
        later = [Turn(word, LETTERS[shown.index(word)]) for word in asked[1:]]
        return Lesson(tuple(scene), (first, *later))

    def _lesson(self, rng: random.Random, form: str) -> Lesson:
        number = rng.choice(self.by_task[rng.choice(sorted(self.by_task))])
        return Lesson(number, (self._turn(self.pictures[number], form, rng),))

    def _turn(self, picture: Picture, form: str, rng: random.Random) -> Turn:
        if form == "describe":
            return Turn(rng.choice(_DESCRIBE), description(picture))
        if form == "sentence":
            prompt, sentence = rng.choice(tuple(_SENTENCES.items()))
            return Turn(prompt, sentence.format(description(picture)))
        if form == "letters":
            return self._letters(picture, rng)
        if form == "name":
            kind = rng.choice(sorted(picture.labels))
            question = _NAME_QUESTION if kind in ("thing", "shape", "word", "digit") else f"what {kind}?"
            return Turn(question, picture.labels[kind])
        kinds = defaultdict(list)
        for example in picture.asked:
            kinds[_kind(picture, example)].append(example)
        example = rng.choice(kinds[rng.choice(sorted(kinds))])
        return Turn(example.question, example.answers[0])

    def _letters(self, picture: Picture, rng: random.Random) -> Turn:
        example = rng.choice(picture.asked)
        options = self.replies.get((picture.task, example.question))
        if options is not None and rng.random() < 0.4:
            return self._choice(example.question, example.answers[0], set(options) - set(example.answers), rng)
        kind = rng.choice(sorted(picture.labels))
        same = set(self.known[picture.task, kind]) - {picture.labels[kind]}
        if len(same) < len(LETTERS) - 1 or rng.random() < 0.3:
            same.update(value for values in self.known.values() for value in values)
        return self._choice(_CHOICE_QUESTION, picture.labels[kind], same - set(picture.labels.values()), rng)

    def _choice(self, question: str, right: str, wrong: Iterable[str], rng: random.Random) -> Turn:
        options = [right, *rng.sample(sorted(wrong), len(LETTERS) - 1)]
        rng.shuffle(options)
        return Turn(choice(question, options), LETTERS[options.index(right)])


def _kind(picture: Picture, example: Example) -> tuple[str, bool]:
    """Return an example's answer, and whether its question names what is in the image.

    Most of easy-VQA's yes-or-no questions name something that is not in the image. Drawn at their own frequency, they
    would teach the model to answer "no" without looking at the image.
    """
    named = set(words(example.question)) & set(picture.labels.values())
    return example.answers[0], bool(named)


def choice(question: str, options: Sequence[str]) -> str:
    """Return the question with its lettered options, one per line."""
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True)]
    return "\n".join([question, *lines])


def description(picture: Picture) -> str:
    """Return a short description of an image, made from its labels."""
    known = picture.labels
    if "shape" in known:
        return f"a {known['color']} {known['shape']}" if "color" in known else f"a {known['shape']}"
    if "digit" in known:
        return f"a {known['color']} book with a {known['digit']}"
    if "word" in known:
        return f"a {known['color']} sign that says {known['word']}"
    return f"a {' '.join(known.values())}"
