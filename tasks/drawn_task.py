"""The shared base of the tasks of ``micro``: pictures that are drawn here or come with a package."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import ClassVar

import numpy as np
from typing_extensions import override

from bench import Example, Split, Task

from .exact_match import score_exact


class DrawnTask(Task):
    """A task with 250 validation and 400 test pictures, short answers and exact match.

    A subclass draws its examples in ``_drawn``; a process draws each split once.
    """

    primary: ClassVar[str] = "exact"
    max_new_tokens: ClassVar[int] = 4
    pictures_may_be_copied: ClassVar[bool] = True
    training_pictures: ClassVar[int]

    @abstractmethod
    def _drawn(self, split: Split) -> Iterable[Example]:
        """Draw the examples of a split, always the same ones in the same order."""

    def _numbers(self, split: Split) -> range:
        """Return the numbers of a split's pictures."""
        return range({"train": self.training_pictures, "validation": 250, "test": 400}[split])

    @override
    def examples(self, split: Split) -> Sequence[Example]:
        return _examples(type(self), split)

    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        return score_exact(examples, predictions)


@cache
def _examples(task: type[DrawnTask], split: Split) -> tuple[Example, ...]:
    return tuple(task()._drawn(split))
