"""OCR-VQA: questions on book covers; the printed text answers them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from typing_extensions import override

from bench import Card, DataError, Download, Example, Split, option

from .data_set import DataSet
from .intake import Intake, Record
from .rows import Row, json_rows
from .sampling import shuffled
from .short_answer import SUFFIX
from .strict_match import equal, equal_coin, equal_trimmed, score_lenient, score_matches

_NUMBER = {"train": 1, "validation": 2, "test": 3}
_COVERS = 207_572  # covers in all splits of the official file
_HUB_COVERS = {"train": 166_022, "validation": 20_731, "test": 20_796}


@dataclass(eq=False, kw_only=True)
class OCRVQA(DataSet):
    """Accuracy: lower(strip(prediction)) = lower(answer), one answer each (LLaVA, LoRASculpt).

    The score ``trimmed`` strips both sides (VLMEvalKit), and ``coin`` counts "Unanswerable" as wrong (CoIN). Every
    split draws from the official split of its name; test draws ``test_samples`` questions. The paper's own 2,000
    questions are unknown. At an accuracy of 66 %, another draw of 2,000 questions has a standard error of about 1.06
    points. If you have the paper's questions, give them with source=llava. A cover that can no longer be downloaded is
    a broken record, and the next record in the draw replaces it.
    """

    name: ClassVar[str] = "ocrvqa"
    display: ClassVar[str] = "OCR-VQA"
    paper: ClassVar[str] = "https://ocr-vqa.github.io (Mishra et al., 2019)"
    primary: ClassVar[str] = "exact"
    sizes: ClassVar[Mapping[Split, int]] = {"train": 10_000, "validation": 1_000, "test": 2_000}
    default_hub: ClassVar[str] = "howard-hou/OCR-VQA@main"
    card: ClassVar[Card] = Card(
        "https://ocr-vqa.github.io",
        "not clearly stated by its owners; the covers are Amazon's and their publishers'",
        (
            Download(
                "https://drive.google.com/drive/folders/1_GYPY5UkUy7HIcR0zq3ZCFgeZN7BAfm_",
                "ocrvqa/dataset.json",
                by_hand=True,
            ),
        ),
        hub=default_hub,
        columns="a cover a row: image_id, image, questions, answers, set_name",
        notes=(
            "dataset.json lies where no program can fetch it. When it is there, bench data get fetches the covers that "
            "are drawn, and as many again, since many are gone: the next ones drawn stand in for those.",
        ),
    )
    image_root: ClassVar[str] = "ocrvqa/images"
    asked_by_image: ClassVar[bool] = True

    test_samples: int = option(2_000, minimum=1)

    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        matches = {"exact": equal, "trimmed": equal_trimmed, "coin": equal_coin}
        return {**score_matches(examples, predictions, matches), "lenient": score_lenient(examples, predictions)}

    @override
    def pictures(self) -> Iterator[Download]:
        """Yield the covers of twice as many questions as each split draws, in the order of the draw."""
        known: set[str] = set()
        for split, limit in self._draws():
            records = self._official(split, Intake(self.name, _COVERS))
            for record in shuffled(records, lambda each: each.example.id, self.name, split, self.sample_seed)[
                : 2 * limit
            ]:
                if record.row.key not in known:
                    known.add(record.row.key)
                    yield Download(record.row.text("imageURL"), f"{self.image_root}/{record.row.key}.jpg")

    @override
    def _prompt(self, example: Example) -> str:
        return f"{example.question}\n{SUFFIX}"

    @override
    def _limit(self, split: Split) -> int | None:
        return self.test_samples if split == "test" else super()._limit(split)

    def _draws(self) -> Iterator[tuple[Split, int]]:
        yield "test", self.test_samples
        yield "validation", self.validation
        yield "train", self.samples

    @override
    def _official(self, split: Split, intake: Intake) -> Sequence[Record]:
        rows = list(json_rows(intake.file(self._folder / "dataset.json"), keyed=True))
        self._count("covers", len(rows), _COVERS)

        def make(row: Row) -> Iterator[Example]:
            part = row.whole("split")
            if part not in _NUMBER.values():
                raise DataError(f"split is {part}; it is 1 (train), 2 (validation) or 3 (test)")
            if part == _NUMBER[split]:
                yield from _questions(row, row.key, self._cover(row))

        return intake.records(rows, make)

    @override
    def _of_hub(self, split: Split, intake: Intake) -> Sequence[Record]:
        rows = self._hub_rows(split, intake)
        self._count(f"covers of {split}", len(rows), _HUB_COVERS[split])
        return intake.records(rows, lambda row: _questions(row, row.label("image_id"), self._hub_image(row)))

    def _cover(self, row: Row) -> Path:
        """Return the cover's file: a .jpg, as LLaVA saves covers, or a file with the suffix of its URL."""
        saved = self._image(f"{row.key}.jpg")
        ending = PurePosixPath(row.text("imageURL")).suffix
        if ending in ("", ".jpg") or saved.is_file():
            return saved
        named = self._image(f"{row.key}{ending}")
        return named if named.is_file() else saved


def _questions(row: Row, image_id: str, image: Path) -> Iterator[Example]:
    questions, answers = row.texts("questions"), row.texts("answers")
    if len(questions) != len(answers):
        raise DataError(f"it has {len(questions)} questions and {len(answers)} answers")
    for number, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        if not question.strip() or not answer.strip():
            raise DataError(f"question {number} or its answer is empty")
        yield Example(f"{image_id}-{number}", question.strip(), (answer,), image)
