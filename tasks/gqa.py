"""GQA: compositional questions that come from the scene graphs of real pictures."""

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
from .short_answer import SUFFIX
from .strict_match import equal_gqa, equal_lmms, equal_trimmed, score_lenient, score_matches

_PART = {"train": "train", "validation": "val", "test": "testdev"}
_OFFICIAL = {"train": 943_000, "validation": 132_062, "test": 12_578}


@dataclass(eq=False, kw_only=True)
class GQA(DataSet):
    """Accuracy over the balanced questions: lower(prediction without final full stops) = answer (LLaVA).

    The score ``lmms`` ignores all punctuation (lmms-eval), and ``trimmed`` keeps the full stop (VLMEvalKit). Test is
    all 12,578 questions of testdev_balanced. Train draws from train_balanced, and validation draws from val_balanced;
    their pictures are not in the test split.
    """

    name: ClassVar[str] = "gqa"
    display: ClassVar[str] = "GQA"
    paper: ClassVar[str] = "https://cs.stanford.edu/people/dorarad/gqa (Hudson and Manning, 2019)"
    primary: ClassVar[str] = "exact"
    sizes: ClassVar[Mapping[Split, int]] = {"train": 10_000, "validation": 1_000, "test": 12_578}
    default_hub: ClassVar[str] = "lmms-lab-encoder/GQA@main"
    card: ClassVar[Card] = Card(
        "https://cs.stanford.edu/people/dorarad/gqa",
        "not clearly stated by its owners; the hub's card says MIT",
        (
            Download(
                "https://downloads.cs.stanford.edu/nlp/data/gqa/questions1.2.zip",
                "gqa/questions1.2.zip",
                1_400_000_000,
                unpacks_to="gqa/questions1.2/testdev_balanced_questions.json",
                unpacked=12_000_000_000,
            ),
            Download(
                "https://downloads.cs.stanford.edu/nlp/data/gqa/images.zip",
                "gqa/images.zip",
                20_300_000_000,
                unpacks_to="gqa/images",
                unpacked=20_300_000_000,
            ),
        ),
        hub=default_hub,
        hub_configs=tuple(
            f"{part}_balanced_{kind}" for part in ("train", "val", "testdev") for kind in ("instructions", "images")
        ),
        columns="*_balanced_instructions: id, imageId, question, answer, isBalanced; *_balanced_images: id, image",
    )
    image_root: ClassVar[str] = "gqa/images"

    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        matches = {"exact": equal_gqa, "lmms": equal_lmms, "trimmed": equal_trimmed}
        return {**score_matches(examples, predictions, matches), "lenient": score_lenient(examples, predictions)}

    @override
    def _prompt(self, example: Example) -> str:
        return f"{example.question}\n{SUFFIX}"

    @override
    def _official(self, split: Split, intake: Intake) -> Sequence[Record]:
        name = f"{_PART[split]}_balanced_questions.json"
        rows = list(json_rows(intake.file(self._folder / "questions1.2" / name, self._folder / name), keyed=True))
        self._count(f"questions in {name}", len(rows), _OFFICIAL[split])

        def make(row: Row) -> Iterator[Example]:
            if _balanced(row):
                image = self._image(f"{row.label('imageId')}.jpg")
                yield Example(row.key, row.text("question").strip(), (row.text("answer"),), image)

        return intake.records(rows, make)

    @override
    def _of_hub(self, split: Split, intake: Intake) -> Sequence[Record]:
        part = _PART[split]
        images = intake.index(self._hub_rows(part, intake, f"{part}_balanced_images"), "id")
        rows = self._hub_rows(part, intake, f"{part}_balanced_instructions")
        self._count(f"questions of {part}_balanced", len(rows), _OFFICIAL[split])

        def make(row: Row) -> Iterator[Example]:
            image = row.label("imageId")
            if image not in images:
                raise DataError(f"its image {image} is not among those of {part}_balanced_images")
            path = self._hub_image(images[image])
            if _balanced(row):
                yield Example(row.label("id"), row.text("question").strip(), (row.text("answer"),), path)

        return intake.records(rows, make)


def _balanced(row: Row) -> bool:
    return not row.has("isBalanced") or bool(row.value["isBalanced"])
