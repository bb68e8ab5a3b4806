"""Define the base class of tasks, their examples, and the description of their data."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

_CAPTIONS = "cider"  # the main metric of a task whose answers are captions
_SHORT_ANSWER, _SHORT_CAPTION = 2, 4  # words, as in SMoLoRA's evaluation


@dataclass(frozen=True, slots=True)
class Example:
    """One question about one image. ``answers`` holds every accepted answer; the first one is taught.

    ``hints`` are texts that a prompt quotes with the question, such as the options, or the words that an OCR system
    read.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    image: Image | Path
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """How tasks read: one folder per task under ``root``; up to ``skip_bad`` broken records are skipped."""

    root: Path = Path("data")
    skip_bad: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """A record that cannot be used: its file, its line or number, and what is wrong with it."""

    place: str
    reason: str

    def __str__(self) -> str:
        """Return the fault as one line."""
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Download:
    """A file at an official address, and its path under the data folder, such as ``coco/val2014.zip``.

    ``size`` is a rough number of bytes, used only if the server does not say the size. ``sha256`` is the checksum that
    the owner published, or None. If ``unpacks_to`` names a file or folder, the download is a zip. It is unpacked in its
    own folder and then deleted, and its files take about ``unpacked`` bytes. If ``by_hand``, a program cannot download
    the file, and a person must open ``url``.
    """

    url: str
    path: str
    size: int = 0
    sha256: str | None = None
    unpacks_to: str | None = None
    unpacked: int = 0
    by_hand: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """Where a task's data come from, who owns them, and what is true of all their records.

    ``hub`` is the data set's id and revision on the hub, ``owner/name@revision``. ``hub_configs`` names the
    configurations to read; it is empty if the data set has only one. ``columns`` describes the columns in words.
    ``answer_count`` is the number of answers that every example has, or None if it varies. If ``lettered``, the answer
    is the letter of one of the options in ``hints``.
    """

    homepage: str
    licence: str
    downloads: tuple[Download, ...] = ()
    hub: str | None = None
    hub_configs: tuple[str, ...] = ()
    columns: str = ""
    answer_count: int | None = None
    lettered: bool = False
    notes: tuple[str, ...] = ()


class Task(ABC):
    """A data set with its prompt and its metric; a changed prompt, split or metric needs a new name.

    ``display`` is the name that papers use, for tables in LaTeX; without one of its own, a task has ``name``.
    ``variants`` names the prompts of the task, the default first: ``iconqa@lmms`` is the task ``iconqa`` with the
    ``variant`` ``lmms``. An answer has at most ``max_new_tokens`` tokens, unless ``variant_tokens`` has another limit
    for the variant; its main metric is ``primary``, unless ``variant_metrics`` has another one. A score is from 0 to 1;
    ``highest`` has the largest value of a metric that may exceed 1. ``sizes`` is the number of examples in a split, if
    it is known before the data is downloaded. If ``pictures_may_be_copied``, a report page shows small copies of the
    pictures; set it only if their licence allows that. A task with options, such as the source of its files, is a
    ``@dataclass(eq=False, kw_only=True)`` with ``option`` fields, which ``--set TASK.FIELD=VALUE`` sets.
    """

    name: ClassVar[str]
    display: ClassVar[str]
    paper: ClassVar[str]
    primary: ClassVar[str]
    max_new_tokens: ClassVar[int] = 8
    variants: ClassVar[tuple[str, ...]] = ()
    variant_tokens: ClassVar[Mapping[str, int]] = {}
    variant_metrics: ClassVar[Mapping[str, str]] = {}
    highest: ClassVar[Mapping[str, float]] = {}
    sizes: ClassVar[Mapping[Split, int]] = {}
    card: ClassVar[Card | None] = None
    pictures_may_be_copied: ClassVar[bool] = False

    reading: Reading = Reading()  # set on the instance before anything is read, like variant
    variant: str = ""

    @property
    def answer_tokens(self) -> int:
        """The number of tokens that an answer may have in the task's variant."""
        return self.variant_tokens.get(self.variant, self.max_new_tokens)

    @property
    def metric(self) -> str:
        """The metric that stands for the task in the leaderboard, in the task's variant."""
        return self.variant_metrics.get(self.variant, self.primary)

    @abstractmethod
    def examples(self, split: Split) -> Sequence[Example]:
        """Return a split's examples, in an order that never changes."""

    def prompt(self, example: Example) -> str:
        """Return the prompt for an example; it may not depend on ``example.answers``."""
        return example.question

    @abstractmethod
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return one number per example, [n], for each metric; one of the metrics is ``metric``.

        A number is from 0 to 1, or to the metric's ``highest``.
        """

    def follows(self, example: Example, prediction: str) -> bool:
        """Return whether a reply has the form that the task asks for, right or wrong.

        ``example`` has the id, the question and the answers that are stored with a reply; it has no image and no hints.
        The default is SMoLoRA's rules. A letter (``card.lettered``) is one of A to Z alone. A caption has more than
        four words or is part of a reference, and ends with a period; ours needs the period only if one of the
        example's references has it. Any other reply has one or two words, or is an answer. Case does not matter.
        Tables count what ``follows`` returns from stored replies, so the source of this hook is not part of a score's
        key.
        """
        reply = prediction.strip()
        if self.card is not None and self.card.lettered:
            return re.fullmatch("[A-Z]", reply.upper()) is not None
        answers = [answer.strip().lower() for answer in example.answers]
        if self.metric == _CAPTIONS:
            part = reply != "" and any(reply.lower() in answer for answer in answers)
            ended = reply.endswith(".") or not any(answer.endswith(".") for answer in answers)
            return ended and (len(reply.split()) > _SHORT_CAPTION or part)
        return 1 <= len(reply.split()) <= _SHORT_ANSWER or reply.lower() in answers

    def ready(self) -> None:  # noqa: B027  most tasks need no check
        """Check, before anything starts, that everything that scoring needs is installed, such as Java.

        Raises:
            DataError: something is missing; the message says what to install.
        """

    def faults(self, split: Split) -> Sequence[Fault]:
        """Return the broken records of a split that were skipped, at most ``reading.skip_bad``."""
        return ()

    def place(self, example: Example, split: Split) -> str:
        """Return where a message finds the record of an example: its file and line, or else the example's id."""
        return f"example {example.id}"

    def manifest(self, split: Split) -> Mapping[str, Any]:
        """Return the files and examples of a split, ready for JSON; empty if a seed draws the examples."""
        return {}

    def pictures(self) -> Iterable[Download]:
        """Return the single images whose addresses the task's files name; some may no longer exist."""
        return ()

    def labels(self, example: Example) -> Mapping[str, str]:
        """Return known facts about the image, by kind; only pretraining of an embedded base reads them."""
        return {}
