"""OK-VQA: questions on COCO pictures that need outside knowledge; ten answers each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from bench import Card, DataError, Download, Example, Split

from .data_set import DataSet
from .intake import Intake, Record
from .rows import Row, json_rows
from .short_answer import ANY_ANSWER, SUFFIX, answers_to_score
from .vqa_accuracy import score_any_answer, score_vqa

_PART = {"train": "train2014", "test": "val2014"}
_SITE = "https://okvqa.allenai.org/static/data"
_OFFICIAL = {"train": 9_009, "test": 5_046}
_LMMS = "When the provided information is insufficient, respond with 'Unanswerable'."


@dataclass(eq=False, kw_only=True)
class OKVQA(DataSet):
    """VQA accuracy in LAVIS' form, as LLaVA-HR and LoRASculpt score it, and in M4C's form.

    Test is all 5,046 questions of val2014. Validation is cut by image out of the 9,009 questions of train2014, so that
    nothing is tuned on the test split. LLaVA-1.5 saw train2014 in its own tuning. The hub has only val2014. The
    variants are ``llava`` and ``lmms``; ``lmms`` is lmms-eval's prompt, which also asks for "Unanswerable". The
    variant ``any_answer`` is for files with another number of answers than ten, which VQA accuracy cannot score: it
    asks as the default does, and scores 1 if the prediction is any of the answers.
    """

    name: ClassVar[str] = "okvqa"
    display: ClassVar[str] = "OK-VQA"
    paper: ClassVar[str] = "https://okvqa.allenai.org (Marino et al., 2019)"
    primary: ClassVar[str] = "vqa_accuracy"
    variants: ClassVar[tuple[str, ...]] = ("llava", "lmms", ANY_ANSWER)
    variant_metrics: ClassVar[Mapping[str, str]] = {ANY_ANSWER: "any_answer"}
    sizes: ClassVar[Mapping[Split, int]] = {"train": 8_009, "validation": 1_000, "test": 5_046}
    default_hub: ClassVar[str] = "lmms-lab-encoder/OK-VQA@main"
    card: ClassVar[Card] = Card(
        "https://okvqa.allenai.org",
        "not clearly stated by its owners; pictures are COCO's, under the terms of Flickr and of who took them",
        (
            Download(
                f"{_SITE}/OpenEnded_mscoco_train2014_questions.json.zip",
                "okvqa/OpenEnded_mscoco_train2014_questions.json.zip",
                2_000_000,
                unpacks_to="okvqa/OpenEnded_mscoco_train2014_questions.json",
                unpacked=12_000_000,
            ),
            Download(
                f"{_SITE}/mscoco_train2014_annotations.json.zip",
                "okvqa/mscoco_train2014_annotations.json.zip",
                2_000_000,
                unpacks_to="okvqa/mscoco_train2014_annotations.json",
                unpacked=12_000_000,
            ),
            Download(
                f"{_SITE}/OpenEnded_mscoco_val2014_questions.json.zip",
                "okvqa/OpenEnded_mscoco_val2014_questions.json.zip",
                2_000_000,
                unpacks_to="okvqa/OpenEnded_mscoco_val2014_questions.json",
                unpacked=12_000_000,
            ),
            Download(
                f"{_SITE}/mscoco_val2014_annotations.json.zip",
                "okvqa/mscoco_val2014_annotations.json.zip",
                2_000_000,
                unpacks_to="okvqa/mscoco_val2014_annotations.json",
                unpacked=12_000_000,
            ),
            Download(
                "http://images.cocodataset.org/zips/val2014.zip",
                "coco/val2014.zip",
                6_650_000_000,
                unpacks_to="coco/val2014",
                unpacked=6_650_000_000,
            ),
            Download(
                "http://images.cocodataset.org/zips/train2014.zip",
                "coco/train2014.zip",
                13_510_000_000,
                unpacks_to="coco/train2014",
                unpacked=13_510_000_000,
            ),
        ),
        hub=default_hub,
        columns="val2014 alone: question_id, image, question, answers (10), question_type, answer_type",
        answer_count=10,
    )
    image_root: ClassVar[str] = "coco"
    image_folders: ClassVar[tuple[str, ...]] = ("val2014", "train2014")
    hub_splits: ClassVar[tuple[Split, ...]] = ("test",)
    validation_is_cut: ClassVar[bool] = True

    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        if self.variant == ANY_ANSWER:
            return score_any_answer(examples, predictions)
        other = score_vqa(examples, predictions, "m4c")["vqa_accuracy"]
        return {**score_vqa(examples, predictions, "lavis"), "vqa_accuracy_m4c": other}

    @override
    def _scored(self, answers: tuple[str, ...]) -> tuple[str, ...]:
        return answers_to_score(answers, self.name, self.variant)

    @override
    def _prompt(self, example: Example) -> str:
        lines = (example.question, *((_LMMS,) if self.variant == "lmms" else ()), SUFFIX)
        return "\n".join(lines)

    @override
    def _official(self, split: Split, intake: Intake) -> Sequence[Record]:
        part = _PART[split]
        asked = intake.file(self._folder / f"OpenEnded_mscoco_{part}_questions.json")
        told = intake.file(self._folder / f"mscoco_{part}_annotations.json")
        rows = list(json_rows(asked, "questions"))
        self._count(f"questions of {part}", len(rows), _OFFICIAL[split])
        gold = intake.index(json_rows(told, "annotations"), "question_id")

        def make(row: Row) -> Iterator[Example]:
            name, image = row.label("question_id"), row.whole("image_id")
            if name not in gold:
                raise DataError(f"question {name} has no annotation in {told.name}")
            path = self._image(f"{part}/COCO_{part}_{image:012d}.jpg")
            yield Example(name, row.text("question").strip(), self._annotated(gold[name]), path)

        return intake.records(rows, make)

    @override
    def _of_hub(self, split: Split, intake: Intake) -> Sequence[Record]:
        rows = self._hub_rows("val2014", intake)
        self._count("questions of val2014", len(rows), _OFFICIAL["test"])

        def make(row: Row) -> Iterator[Example]:
            answers = self._scored(row.texts("answers"))
            yield Example(row.label("question_id"), row.text("question").strip(), answers, self._hub_image(row))

        return intake.records(rows, make)

    def _annotated(self, row: Row) -> tuple[str, ...]:
        """Return an annotation's answers from ``answer``, which the evaluation scores, not ``raw_answer``."""
        try:
            return self._scored(row.texts("answers", inner="answer"))
        except DataError as error:
            raise DataError(f"{error} ({row.place})") from None
