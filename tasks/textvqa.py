"""TextVQA: questions on the text in a picture; ten answers each, OCR tokens in the prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from bench import Card, DataError, Download, Example, Split

from .data_set import DataSet
from .intake import Intake, Record
from .rows import Row, json_rows
from .short_answer import ANY_ANSWER, SUFFIX, answers_to_score
from .vqa_accuracy import score_any_answer, score_vqa

_PART = {"train": "train", "test": "val"}
_HUB = {"train": "train", "test": "validation"}
_SITE = "https://dl.fbaipublicfiles.com/textvqa"
_OFFICIAL = {"train": 34_602, "test": 5_000}


@dataclass(eq=False, kw_only=True)
class TextVQA(DataSet):
    """VQA accuracy in M4C's form, as everybody scores it, and in LAVIS' form.

    Test is the 5,000 questions of the official validation split. Validation is cut by image out of the training split,
    so that nothing is tuned on the test split. The variant ``ocr`` puts the data set's Rosetta OCR tokens into the
    prompt, as LLaVA and LoRASculpt do. The variant ``no_ocr`` leaves them out. The variant ``lmms`` is lmms-eval's
    prompt, which has no tokens and capitalises the question. The variant ``any_answer`` is for files with another
    number of answers than ten, which VQA accuracy cannot score: it asks as the default does, and scores 1 if the
    prediction is any of the answers.
    """

    name: ClassVar[str] = "textvqa"
    display: ClassVar[str] = "TextVQA"
    paper: ClassVar[str] = "https://textvqa.org (Singh et al., 2019)"
    primary: ClassVar[str] = "vqa_accuracy"
    variants: ClassVar[tuple[str, ...]] = ("ocr", "no_ocr", "lmms", ANY_ANSWER)
    variant_metrics: ClassVar[Mapping[str, str]] = {ANY_ANSWER: "any_answer"}
    sizes: ClassVar[Mapping[Split, int]] = {"train": 10_000, "validation": 1_000, "test": 5_000}
    default_hub: ClassVar[str] = "lmms-lab-encoder/textvqa@main"
    card: ClassVar[Card] = Card(
        "https://textvqa.org",
        "CC BY 4.0; pictures are OpenImages', CC BY 2.0",
        (
            Download(f"{_SITE}/data/TextVQA_0.5.1_train.json", "textvqa/TextVQA_0.5.1_train.json", 22_000_000),
            Download(
                f"{_SITE}/data/TextVQA_Rosetta_OCR_v0.2_train.json",
                "textvqa/TextVQA_Rosetta_OCR_v0.2_train.json",
                66_000_000,
            ),
            Download(f"{_SITE}/data/TextVQA_0.5.1_val.json", "textvqa/TextVQA_0.5.1_val.json", 3_100_000),
            Download(
                f"{_SITE}/data/TextVQA_Rosetta_OCR_v0.2_val.json",
                "textvqa/TextVQA_Rosetta_OCR_v0.2_val.json",
                9_800_000,
            ),
            Download(
                f"{_SITE}/images/train_val_images.zip",
                "textvqa/train_val_images.zip",
                7_100_000_000,
                unpacks_to="textvqa/train_images",
                unpacked=7_100_000_000,
            ),
        ),
        hub=default_hub,
        columns="train, validation, test: question_id, image_id, image, question, answers (10), ocr_tokens",
        answer_count=10,
        notes=("Whether the hub's ocr_tokens are the Rosetta tokens of the official file was not checked.",),
    )
    image_root: ClassVar[str] = "textvqa"
    image_folders: ClassVar[tuple[str, ...]] = ("train_images",)
    validation_is_cut: ClassVar[bool] = True
    asked_by_image: ClassVar[bool] = True

    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        if self.variant == ANY_ANSWER:
            return score_any_answer(examples, predictions)
        other = score_vqa(examples, predictions, "lavis")["vqa_accuracy"]
        return {**score_vqa(examples, predictions, "m4c"), "vqa_accuracy_lavis": other}

    @override
    def _scored(self, answers: tuple[str, ...]) -> tuple[str, ...]:
        return answers_to_score(answers, self.name, self.variant)

    @override
    def _prompt(self, example: Example) -> str:
        if self.variant == "lmms":
            return f"{example.question.capitalize()}\n{SUFFIX}"
        tokens = f"\nReference OCR token: {', '.join(example.hints)}" if self.variant != "no_ocr" else ""
        return f"{example.question}{tokens}\n{SUFFIX}"

    @override
    def _official(self, split: Split, intake: Intake) -> Sequence[Record]:
        part = _PART[split]
        rows = list(json_rows(intake.file(self._folder / f"TextVQA_0.5.1_{part}.json"), "data"))
        self._count(f"questions of {part}", len(rows), _OFFICIAL[split])
        read = intake.file(self._folder / f"TextVQA_Rosetta_OCR_v0.2_{part}.json")
        tokens = intake.index(json_rows(read, "data"), "image_id")

        def make(row: Row) -> Iterator[Example]:
            image = row.label("image_id")
            if image not in tokens:
                raise DataError(f"its image {image} has no OCR tokens in {read.name}")
            path = self._image(f"train_images/{image}.jpg")
            yield self._example(row, tokens[image].texts("ocr_tokens"), path)

        return intake.records(rows, make)

    @override
    def _of_hub(self, split: Split, intake: Intake) -> Sequence[Record]:
        rows = self._hub_rows(_HUB[split], intake)
        self._count(f"questions of {_HUB[split]}", len(rows), _OFFICIAL[split])
        return intake.records(rows, lambda row: [self._example(row, row.texts("ocr_tokens"), self._hub_image(row))])

    def _example(self, row: Row, tokens: tuple[str, ...], image: Path) -> Example:
        answers = self._scored(row.texts("answers"))
        return Example(row.label("question_id"), row.text("question").strip(), answers, image, tokens)
