"""COCO-Caption: one sentence about a picture, scored against five or more references."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from bench import Card, DataError, Download, Example, Split

from .caption_scores import score_captions
from .data_set import DataSet
from .intake import Intake, Record
from .ptb import java
from .rows import Row, json_rows
from .sampling import drawn

# DataOptim draws one of these prompts for each caption.
TRAIN_PROMPTS = (
    "Describe the image as simply as possible with a sentence or phrase.",
    "Give a brief summary of what you see.",
    "Provide a short description of the image.",
    "Write a short description for the image.",
    "Briefly describe the content of the image.",
)
_PROMPTS = {
    "dataoptim": "Provide a short description of the image.",
    "lmms": "Provide a one-sentence caption for the provided image.",
    "lmms_karpathy": "Describe the image briefly.",
    "vlmevalkit": (
        "Please describe this image in general. Directly provide the description, "
        'do not include prefix like "This image depicts". '
    ),
}
_CAPTIONS, _KARPATHY = 414_113, 5_000
_HUB_ROWS = 40_504
_NUMBER = re.compile(r"(\d+)(?:\.\w+)?$")


@dataclass(eq=False, kw_only=True)
class COCOCaption(DataSet):
    """CIDEr-D on Penn Treebank tokens, with document frequencies from the scored references; ROUGE-L.

    Train draws from the 414,113 captions of train2014, one caption per example. Validation draws from Karpathy's 5,000
    validation images. Test is all of Karpathy's 5,000 test images. Part of the test split has other document
    frequencies, so its scores are not comparable with those of the whole split. The variants are prompts:
    ``dataoptim``, ``lmms``, ``lmms_karpathy`` and ``vlmevalkit``. Under ``dataoptim``, training draws one of five
    prompts for each caption, and evaluation always asks the same one of the five. The paper's own prompt is not
    published. Karpathy's ids come from dataset_coco.json, even if the pictures come from the hub, which has only
    val2014.
    """

    name: ClassVar[str] = "coco_caption"
    display: ClassVar[str] = "COCO Caption"
    paper: ClassVar[str] = "https://cocodataset.org (Chen et al., 2015); split of Karpathy and Fei-Fei, 2015"
    primary: ClassVar[str] = "cider"
    highest: ClassVar[Mapping[str, float]] = {"cider": 10.0}
    variants: ClassVar[tuple[str, ...]] = tuple(_PROMPTS)
    variant_tokens: ClassVar[Mapping[str, int]] = {"lmms": 64}
    sizes: ClassVar[Mapping[Split, int]] = {"train": 10_000, "validation": 1_000, "test": 5_000}
    default_hub: ClassVar[str] = "lmms-lab-encoder/COCO-Caption@main"
    card: ClassVar[Card] = Card(
        "https://cocodataset.org",
        "annotations CC BY 4.0; pictures under the terms of Flickr and of who took them",
        (
            Download(
                "http://images.cocodataset.org/zips/train2014.zip",
                "coco/train2014.zip",
                13_510_000_000,
                unpacks_to="coco/train2014",
                unpacked=13_510_000_000,
            ),
            Download(
                "http://images.cocodataset.org/zips/val2014.zip",
                "coco/val2014.zip",
                6_650_000_000,
                unpacks_to="coco/val2014",
                unpacked=6_650_000_000,
            ),
            Download(
                "http://images.cocodataset.org/annotations/annotations_trainval2014.zip",
                "coco_caption/annotations_trainval2014.zip",
                253_000_000,
                unpacks_to="coco_caption/annotations",
                unpacked=820_000_000,
            ),
            Download(
                "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
                "coco_caption/caption_datasets.zip",
                37_000_000,
                unpacks_to="coco_caption/dataset_coco.json",
                unpacked=200_000_000,
            ),
        ),
        hub=default_hub,
        columns="val (val2014) and test: question_id (the file's name), id, image, answer; no captions of train2014",
        notes=("Karpathy's split is read from dataset_coco.json, also with source=hub.",),
    )
    image_root: ClassVar[str] = "coco"
    image_folders: ClassVar[tuple[str, ...]] = ("train2014", "val2014")
    hub_splits: ClassVar[tuple[Split, ...]] = ("validation", "test")

    @override
    def ready(self) -> None:
        java()

    @override
    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> Mapping[str, np.ndarray]:
        return score_captions([example.answers for example in examples], predictions)

    @override
    def _official(self, split: Split, intake: Intake) -> Sequence[Record]:
        if split == "train":
            return self._captions(intake)
        records = intake.records(self._karpathy(split, intake), self._of_karpathy)
        self._count(f"images in Karpathy's {split} split", len(records) + len(intake.faults), _KARPATHY)
        return records

    @override
    def _of_hub(self, split: Split, intake: Intake) -> Sequence[Record]:
        wanted = intake.index(self._karpathy(split, intake), "cocoid")
        rows = self._hub_rows("val", intake)
        self._count("images of val2014", len(rows), _HUB_ROWS)
        seen: set[str] = set()

        def make(row: Row) -> Iterator[Example]:
            found = _NUMBER.search(row.label("question_id"))
            if found is None:
                raise DataError(f"question_id is {row.label('question_id')}, not the name of a COCO file")
            if (name := str(int(found[1]))) in wanted:
                seen.add(name)
                yield Example(name, self._question(), _references(row.texts("answer")), self._hub_image(row))

        records = intake.records(rows, make)
        for name, row in wanted.items():
            if name not in seen:
                intake.refuse(row.place, f"the hub's data set has no picture {name}")
        return records

    def _captions(self, intake: Intake) -> list[Record]:
        rows = list(json_rows(intake.file(self._folder / "annotations" / "captions_train2014.json"), "annotations"))
        self._count("captions of train2014", len(rows), _CAPTIONS)

        def make(row: Row) -> Iterator[Example]:
            name = f"caption-{row.label('id')}"
            path = self._image(f"train2014/COCO_train2014_{row.whole('image_id'):012d}.jpg")
            yield Example(name, self._question(name), (row.text("caption").strip(),), path)

        return intake.records(rows, make)

    def _karpathy(self, split: Split, intake: Intake) -> Iterator[Row]:
        """Yield the rows of one of Karpathy's splits, and every row that names no split."""
        wanted = {"validation": "val"}.get(split, split)
        for row in json_rows(intake.file(self._folder / "dataset_coco.json"), "images"):
            if not row.has("split") or row.value["split"] == wanted:
                yield row

    def _of_karpathy(self, row: Row) -> Iterator[Example]:
        row.text("split")
        references = _references(row.texts("sentences", inner="raw"))
        path = self._image(f"{row.text('filepath')}/{row.text('filename')}")
        yield Example(row.label("cocoid"), self._question(), references, path)

    def _question(self, training: str = "") -> str:
        """Return the prompt; under ``dataoptim``, the id ``training`` selects one of ``TRAIN_PROMPTS``."""
        variant = self.variant or "dataoptim"
        if training and variant == "dataoptim":
            return drawn(TRAIN_PROMPTS, self.name, "prompt", self.sample_seed, training)
        return _PROMPTS[variant]


def _references(captions: Sequence[str]) -> tuple[str, ...]:
    if not any(caption.strip() for caption in captions):
        raise DataError("it has no caption")
    return tuple(caption.strip() for caption in captions)
