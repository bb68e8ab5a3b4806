"""What a task is: its base class, its examples, and where its data come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Example:
    """One question about one image. ``answers`` holds every accepted answer, the one to teach first.

    ``hints`` is what a prompt quotes beside the question: the options, or the words that an OCR system read.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    image: Image | Path
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """Where tasks find their files, a folder per task under ``root``. Up to ``skip_bad`` broken records are skipped."""

    root: Path = Path("data")
    skip_bad: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """A record that cannot be used: the file with its line or record, and what is wrong."""

    place: str
    reason: str

    def __str__(self) -> str:
        """Return the fault as one line."""
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Download:
    """A file at an official address, and its path under the data folder, such as ``coco/val2014.zip``.

    ``size`` in bytes is rough: the server's word counts where it gives one. ``sha256`` is what the owner published, or
    None. A zip that gives the file or folder ``unpacks_to``, of about ``unpacked`` bytes, is unpacked in the folder it
    lies in, and deleted. What is ``by_hand`` has an address for people, not for programs.
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
    """Where a task's data come from, whose they are, and what holds for all their records.

    ``hub`` is the data set's id and revision, ``owner/name@revision``; of its configurations ``hub_configs`` are read
    (none named: its only one), and ``columns`` says in words what it holds.
    ``answer_count`` is how many answers every example has, where that is fixed; where ``lettered``, the answer is the
    letter of one of the options in ``hints``.
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
    """A data set with its prompt and its metric. A changed prompt, split or metric is a new name.

    ``variants`` names other prompts, the default first: ``iconqa@lmms`` is the task ``iconqa`` whose ``variant`` is
    ``lmms``. An answer has at most ``max_new_tokens`` tokens, in a variant as many as ``variant_tokens`` says of it.
    ``sizes`` says how many examples a split has, where that is known before the data is there. A task with options,
    such as where its files come from, is a ``@dataclass(eq=False, kw_only=True)`` of ``option`` fields, set by
    ``--set TASK.FIELD=VALUE``.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    primary: ClassVar[str]
    max_new_tokens: ClassVar[int] = 8
    variants: ClassVar[tuple[str, ...]] = ()
    variant_tokens: ClassVar[Mapping[str, int]] = {}
    sizes: ClassVar[Mapping[Split, int]] = {}
    card: ClassVar[Card | None] = None

    reading: Reading = Reading()  # set on the instance, as variant is, before anything is read
    variant: str = ""

    @property
    def answer_tokens(self) -> int:
        """How many tokens an answer may have in the task's variant."""
        return self.variant_tokens.get(self.variant, self.max_new_tokens)

    @abstractmethod
    def examples(self, split: Split) -> Sequence[Example]:
        """Return a split's examples, in an order that never changes."""

    def prompt(self, example: Example) -> str:
        """Return what the model is asked. It may not depend on ``example.answers``."""
        return example.question

    @abstractmethod
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return one number per example, [n], for each metric; ``primary`` is among them."""

    def ready(self) -> None:  # noqa: B027  most tasks need nothing more
        """Raise where something is missing that scoring needs, such as Java, before anything starts.

        Raises:
            DataError: it is missing; the message says what to install.
        """

    def faults(self, split: Split) -> Sequence[Fault]:
        """Return the records of a split that were skipped as broken, ``reading.skip_bad`` of them at most."""
        return ()

    def manifest(self, split: Split) -> Mapping[str, Any]:
        """Return what a split was read from and which examples it holds, as JSON takes it; nothing for drawn tasks."""
        return {}

    def pictures(self) -> Iterable[Download]:
        """Return the single pictures that files already there name by address; some may be gone for good."""
        return ()

    def labels(self, example: Example) -> Mapping[str, str]:
        """Return what is known of the picture, by kind; only pretraining an embedded base reads it."""
        return {}
