"""IconQA's choose_txt part: questions on drawn icon scenes; the answer is the letter of an option."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from typing_extensions import override

from bench import Card, DataError, Download, Example, Split

from .data_set import DataSet
from .intake import Intake, Record
from .rows import Row, json_rows
from .strict_match import equal, first_letter, score_matches

LETTERS = "ABCDE"
_PART = {"train": "train", "validation": "val", "test": "test"}
_OFFICIAL = {"train": 18_946, "validation": 6_316, "test": 6_316}
_LLAVA_MCQ = "Answer with the option's letter from the given choices directly."
_LMMS = (
    "Given a set of images and a question, please provide the answer to the question.\n"
    "Question: {question}.\nOptions:\n{options}\n"
    "Please answer with the option letter from the given choices directly."
)
_GROUPED_DIGITS = re.compile(r"\d,\d{3}(?!\d)")
_JOINT = re.compile(r",\s*")
_EMPTY_OPTION = re.compile(r"^\(?([A-E])[.:)]+[ \t]*$", re.MULTILINE)  # a line of a prompt
_LETTERED = re.compile(r"\(?([A-Ea-e])(?:[.:)]+(?:\s.*)?)?", re.DOTALL)  # B, B., (B), B. red


@dataclass(eq=False, kw_only=True)
class IconQA(DataSet):
    """Accuracy: lower(prediction) = lower(letter), so "A." is wrong (LoRASculpt's scorer).

    A question has up to five options in words. Train draws from the 18,946 training questions, and validation draws
    from the 6,316 official validation questions. Test is all 6,316 test questions. The hub has no training split. The
    variant ``lorasculpt`` asks only the question and the options; the authors' own text is not published. The variant
    ``llava_mcq`` adds LLaVA's request for a letter. The variant ``lmms`` uses the words of lmms-eval. An
    answer of a LLaVA file such as "B. red" is read as its letter.
    """

    name: ClassVar[str] = "iconqa"
    display: ClassVar[str] = "IconQA"
    paper: ClassVar[str] = "https://iconqa.github.io (Lu et al., 2021)"
    primary: ClassVar[str] = "exact"
    variants: ClassVar[tuple[str, ...]] = ("lorasculpt", "llava_mcq", "lmms")
    variant_tokens: ClassVar[Mapping[str, int]] = {"lmms": 32}
    sizes: ClassVar[Mapping[Split, int]] = {"train": 10_000, "validation": 1_000, "test": 6_316}
    default_hub: ClassVar[str] = "lmms-lab-encoder/ICON-QA@main"
    card: ClassVar[Card] = Card(
        "https://iconqa.github.io",
        "CC BY-NC-SA 4.0, as the data set's own text says; its badge says BY-SA",
        (
            Download(
                "https://iconqa2021.s3.us-west-1.amazonaws.com/iconqa_data.zip",
                "iconqa/iconqa_data.zip",
                unpacks_to="iconqa/iconqa_data",
            ),
        ),
        hub=default_hub,
        columns="question_id, question, choices (joined by commas), answer, query_image, ques_type; no training split",
        lettered=True,
        notes=(
            "Only choose_txt is read. The prompts behind the paper's numbers are in the authors' own files, "
            "https://drive.google.com/file/d/1VgjUlCqs7uzdkqsYq_PQDr6ISfa0Acn-/view; give them with source=llava.",
        ),
    )
    image_root: ClassVar[str] = "iconqa/iconqa_data/iconqa"
    hub_splits: ClassVar[tuple[Split, ...]] = ("validation", "test")

    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        return score_matches(examples, predictions, {"exact": equal, "first_letter": first_letter})

    @override
    def _taught(self, answers: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(letter_of, answers))

    @override
    def _scored(self, answers: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(letter_of, answers))

    @override
    def _of_llava(self, split: Split, intake: Intake) -> Sequence[Record]:
        kept = []
        for record in super()._of_llava(split, intake):
            if empty := _EMPTY_OPTION.search(record.example.question):
                intake.refuse(record.row.place, f"its option {empty[1]} is empty")
            else:
                kept.append(record)
        return kept

    @override
    def _prompt(self, example: Example) -> str:
        lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, example.hints, strict=False)]
        options = "\n".join(lines)
        if self.variant == "lmms":
            return _LMMS.format(question=example.question, options=options)
        suffix = f"\n{_LLAVA_MCQ}" if self.variant == "llava_mcq" else ""
        return f"{example.question}\n{options}{suffix}"

    @override
    def _official(self, split: Split, intake: Intake) -> Sequence[Record]:
        folder, part = self._folder / "iconqa_data", _PART[split]
        listed = list(json_rows(intake.file(folder / "pid_splits.json"), f"choose_txt_{part}"))
        self._count(f"choose_txt questions in {split}", len(listed), _OFFICIAL[split])
        problems = {row.key: row for row in json_rows(intake.file(folder / "problems.json"), keyed=True)}

        def make(row: Row) -> Iterator[Example]:
            choices, answer = _checked(row.texts("choices")), row.whole("answer")
            if not 0 <= answer < len(choices):
                raise DataError(f"answer is {answer}, and there are {len(choices)} choices")
            image = self._image(f"{part}/choose_txt/{row.key}/image.png")
            yield Example(row.key, row.text("question").strip(), (LETTERS[answer],), image, choices)

        return intake.records((problems.get(str(row.value), _absent(row)) for row in listed), make)

    @override
    def _of_hub(self, split: Split, intake: Intake) -> Sequence[Record]:
        rows = self._hub_rows(_PART[split], intake)
        chosen = [row for row in rows if not row.has("ques_type") or row.value["ques_type"] == "choose_txt"]
        self._count(f"choose_txt questions in {split}", len(chosen), _OFFICIAL[split])

        def make(row: Row) -> Iterator[Example]:
            choices = _checked(_split(row.text("choices")))
            letter = _letter(row.label("answer"), choices)
            image = self._hub_image(row, "query_image")
            yield Example(row.label("question_id"), row.text("question").strip(), (letter,), image, choices)

        return intake.records(chosen, make)


def letter_of(answer: str) -> str:
    """Return the letter of an option that a LLaVA file gives as an answer, alone or before the option's words.

    Raises:
        DataError: the answer does not begin with such a letter.

    >>> letter_of("B"), letter_of("B. red"), letter_of("(b) red")
    ('B', 'B', 'B')
    """
    found = _LETTERED.fullmatch(answer.strip())
    if found is None:
        raise DataError(f"answer {answer!r} is not the letter of an option, such as B or B. red")
    return found[1].upper()


def _absent(listed: Row) -> Row:
    """Return a row that raises DataError for a problem that is listed but missing."""
    return replace(listed, value=DataError(f"problem {listed.value} is listed, but not in problems.json"))


def _checked(choices: tuple[str, ...]) -> tuple[str, ...]:
    if not 2 <= len(choices) <= len(LETTERS):
        raise DataError(f"it has {len(choices)} choices; there are 2 to {len(LETTERS)}")
    empty = [letter for letter, choice in zip(LETTERS, choices, strict=False) if not choice.strip()]
    if empty:
        raise DataError(f"its option {empty[0]} is empty")
    return choices


def _split(text: str) -> tuple[str, ...]:
    """Split the hub's comma-joined choices; raise DataError if a comma may be part of an option."""
    if _GROUPED_DIGITS.search(text) or len(set(_JOINT.findall(text))) > 1:
        raise DataError(f"choices {text!r} may hold a comma inside an option; read the official files (source=files)")
    return tuple(part.strip() for part in text.split(","))


def _letter(answer: str, choices: Sequence[str]) -> str:
    """Return the letter of the option that the hub's answer repeats."""
    found = [letter for letter, choice in zip(LETTERS, choices, strict=False) if choice == answer.strip()]
    if len(found) != 1:
        count = len(found) or "none"
        raise DataError(f"answer {answer!r} is {count} of {', '.join(choices)}; read the official files (source=files)")
    return found[0]
