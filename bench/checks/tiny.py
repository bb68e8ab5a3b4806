"""The model and tasks of the checks: a random LLaVA of 17,000 parameters and coloured squares."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from bench.model.families import family_of
from bench.model.llava.tiny import Shape, Side, fresh, processor, word_tokenizer
from bench.model.resident import Base
from bench.plugins.method import Method
from bench.plugins.task import Example, Split, Task
from bench.trial.corpus import Corpus
from bench.trial.mixture import Lessons, Mixture, Union
from bench.values.canonical import digest
from bench.values.recipe import Recipe
from bench.values.scores import ScoreSpec

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import LlavaForConditionalGeneration

# lr is large because the change must be visible after six updates. With a warm-up, the first update would have lr 0.
RECIPE = Recipe(updates=6, batch_size=8, lr=1e-2, connector_lr=1e-3, warmup=0.0)
RANK = 2

_TRAIN_AND_TEST: tuple[Split, Split] = ("train", "test")
_PIXELS, _PATCH = 16, 8
_QUESTIONS = ("what color is it ?", "color ?", "which color has this square ?")
_COLORS = {  # answers of one to four tokens, so that a mean of means differs from the mean
    "red": (200, 30, 30),
    "blue": (30, 30, 200),
    "dark green": (0, 70, 0),
    "very light gray": (220, 220, 220),
    "something like warm orange": (240, 150, 40),
}
_COUNTS = {"train": 48, "validation": 8, "test": 12}
_FIRST = {"train": 0, "validation": 1000, "test": 2000}
_SOURCES = {"old_squares": 3000, "older_squares": 4000}  # the sources, and where their squares begin
_LATER = 5000  # where the squares of another task begin


class Squares(Task):
    """Name the colour of a square: learnable, and easy to reason about."""

    name: ClassVar[str] = "squares"
    paper: ClassVar[str] = "drawn here, for the conformance suite"
    primary: ClassVar[str] = "exact"
    max_new_tokens: ClassVar[int] = 4

    first: int = 0

    @override
    def examples(self, split: Split) -> Sequence[Example]:
        return _examples(split, self.first)

    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        pairs = zip(examples, predictions, strict=True)
        return {"exact": np.array([float(said in example.answers) for example, said in pairs])}


@dataclass(frozen=True, slots=True, eq=False)
class Tiny:
    """A new copy of the base model, with its training and test examples.

    ``lessons`` are the training examples with those of two sources, for methods that see both. ``later`` has another
    task in place of the target, for the next stage of a sequence. ``joint`` are those of all three tasks, learnt
    together.
    """

    base: Base
    train: Corpus
    test: Corpus
    lessons: Mixture
    later: Mixture
    joint: Union

    @property
    def asked(self) -> ScoreSpec:
        """The score spec of the whole test split."""
        task = self.test.task
        return ScoreSpec(task.name, "test", len(self.test.examples), "", task.max_new_tokens, "")

    def lessons_of(self, method: Method) -> Lessons:
        """Return what a method is trained on: the three tasks together, if it is made for that."""
        return self.joint if method.made_for == "joint" else self.lessons

    def batch(self, count: int = 8) -> Mapping[str, Tensor]:
        """Return the first training examples as a batch, including their answers."""
        return self.train.training_batch(range(count), RECIPE.max_length)


def tiny(dtype: str = "float32") -> Tiny:
    """Return a base model and its data, equal at every call and not shared with other callers.

    After this call torch uses one thread, as in a lane on the CPU, because one and two threads give different bits.
    """
    torch.set_num_threads(1)
    model = copy.deepcopy(_model()).to(getattr(torch, dtype))
    tower = family_of(model).take_tower(model)
    pristine = {name: value.detach().clone() for name, value in model.named_parameters()}
    base = Base(model, tower, _processor(), pristine, torch.device("cpu"))
    return with_data(base)


def with_data(base: Base) -> Tiny:
    """Return a base model with the data of the checks."""
    train, test = (Corpus(base, Squares(), split, RECIPE.template) for split in _TRAIN_AND_TEST)
    sources = {name: _squares(base, first, sparse=True) for name, first in _SOURCES.items()}
    later, joint = Mixture(_squares(base, _LATER, sparse=False), sources), Union({Squares.name: train, **sources})
    return Tiny(base, train, test, Mixture(train, sources), later, joint)


def _squares(base: Base, first: int, *, sparse: bool) -> Corpus:
    """Return the training examples of a task whose squares begin at a number."""
    task = Squares()
    task.first = first
    return Corpus(base, task, "train", RECIPE.template, sparse=sparse)


@cache
def _examples(split: Split, first: int = 0) -> tuple[Example, ...]:
    examples = []
    for place in range(_COUNTS[split]):
        number = first + _FIRST[split] + place
        rng = np.random.default_rng(number)
        answer = list(_COLORS)[rng.integers(len(_COLORS))]
        question = _QUESTIONS[rng.integers(len(_QUESTIONS))]
        examples.append(Example(f"{split}-{place}", question, (answer,), _square(_COLORS[answer], rng)))
    return tuple(examples)


def _square(color: Sequence[int], rng: np.random.Generator) -> Image:
    from PIL import Image

    noise = rng.integers(-20, 21, size=(_PIXELS, _PIXELS, 3))
    return Image.fromarray(np.clip(np.array(color) + noise, 0, 255).astype(np.uint8))


# Every side of every matrix differs from the sides that it could be mistaken for. The weights are large, so that a
# change of one weight is visible in the outputs.
_SHAPE = Shape(
    image_size=_PIXELS,
    patch_size=_PATCH,
    tower=Side(width=16, inner=24, layers=2, heads=2),
    decoder=Side(width=32, inner=40, layers=2, heads=4, key_value_heads=2),
    feature_layer=-2,
    max_length=64,
    initializer_range=0.15,
)


@cache
def _processor() -> Any:
    words = " ".join([*_QUESTIONS, *_COLORS, "USER : ASSISTANT"]).split()
    return processor(word_tokenizer(words), _SHAPE)


@cache
def _model() -> LlavaForConditionalGeneration:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(digest("tiny")[:15], 16))
        model = fresh(_processor().tokenizer, _SHAPE)
    return model.eval().requires_grad_(requires_grad=False)
