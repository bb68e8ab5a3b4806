"""The easy-VQA data set: images with one coloured shape; questions on shape, colour and presence."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from bench import Example, Split

from .drawing import generator, package_file
from .drawn_task import DrawnTask

SHAPES = ("circle", "rectangle", "triangle")
COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")

# The package's test images, split by image: the first 250 are validation, and the next 400 are test.
_VALIDATION = range(250)
_TEST = range(250, 650)


class EasyVQA(DrawnTask):
    """Represents GQA: compositional questions on real but simple data. Exact match; 13 answers.

    Validation and test ask one question per image, so their examples are independent.
    """

    name: ClassVar[str] = "easy_vqa"
    display: ClassVar[str] = "easy-VQA"
    paper: ClassVar[str] = "https://pypi.org/project/easy-vqa (V. Zhou, MIT); stands for GQA"

    @override
    def _drawn(self, split: Split) -> Iterator[Example]:
        part = "train" if split == "train" else "test"
        chosen = {"validation": _VALIDATION, "test": _TEST}.get(split)
        for image, asked in sorted(_questions(part).items()):
            if chosen is None:
                picked = list(enumerate(asked))
            elif image in chosen:
                picked = [generator("easy_vqa", image).choice(list(enumerate(asked)))]
            else:
                continue
            path = _folder() / part / "images" / f"{image}.png"
            yield from (Example(f"{part}-{image}-{n}", q, (a,), path) for n, (q, a) in picked)

    @override
    def labels(self, example: Example) -> Mapping[str, str]:
        return _labels().get(example.image, {}) if isinstance(example.image, Path) else {}


def question_only_baseline() -> float:
    """Return the test accuracy of each question's most frequent training answer, without the image.

    On all 9,673 questions of the package's test part, the same rule scores 67.0 %.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for example in EasyVQA().examples("train"):
        counts[example.question][example.answers[0]] += 1
    test = EasyVQA().examples("test")
    hits = sum(counts[e.question].most_common(1)[0][0] == e.answers[0] for e in test)
    return hits / len(test)


@cache
def _folder() -> Path:
    return package_file("easy_vqa", "data")


def _questions(part: str) -> dict[int, list[tuple[str, str]]]:
    rows = json.loads((_folder() / part / "questions.json").read_text())
    by_image: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for question, answer, image in rows:
        by_image[image].append((question, answer))
    return by_image


@cache
def _labels() -> dict[Path, dict[str, str]]:
    """Return each image's shape and colour, read from its training questions; nearly all have both."""
    labels: dict[Path, dict[str, str]] = defaultdict(dict)
    for example in EasyVQA().examples("train"):
        words = set(re.findall(r"\w+", example.question))
        answer = example.answers[0]
        if answer in ("yes", "no"):
            if (answer == "yes") == bool(words & {"no", "not"}):
                continue
        else:
            words.add(answer)
        assert isinstance(example.image, Path)
        for kind, known in (("shape", SHAPES), ("color", COLORS)):
            for word in words.intersection(known):
                labels[example.image][kind] = word
    return labels
