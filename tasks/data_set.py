"""A task that reads its examples from files, draws some of them, and reports the broken ones."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from typing_extensions import override

from bench import DataError, Example, Fault, Split, Task, UsageError, image_fault, option

from .hub_files import HubRows, hub_rows
from .intake import Intake, Record
from .llava_files import LlavaFiles, Verbatim
from .rows import Row
from .sampling import held_out, shuffled


@dataclass(frozen=True, slots=True)
class _Taken:
    examples: Sequence[Example]
    faults: Sequence[Fault]
    files: Sequence[Path]
    rows: Mapping[str, Row]  # of the examples, by id; a row's place takes a second to find


@dataclass(eq=False, kw_only=True)
class DataSet(Task):
    """A data set from its official files, from the hub, or from files in LLaVA's format.

    The train split draws ``samples`` records. The validation split draws ``validation`` records. The test split takes
    all records unless the task says otherwise. A draw orders records by the SHA-256 of the task, the split,
    ``sample_seed`` and the record's id. No validation example is a test example: validation comes from the official
    validation split, or is cut out of the training split by image. With ``source=llava``, the files ``train`` (a JSON
    of conversations) and ``test`` (a JSONL of questions) replace these two splits, with verbatim prompts. The official
    files provide every split that has no such file and every split that the hub lacks. Paths are relative to the data
    folder, because a lane may run in another folder. A count that differs from the official one is an error, unless
    ``expect=any``.
    """

    default_hub: ClassVar[str]
    image_root: ClassVar[str]  # relative to the data folder; image_folders are relative to image_root
    image_folders: ClassVar[tuple[str, ...]] = ()
    hub_splits: ClassVar[tuple[Split, ...]] = ("train", "validation", "test")
    validation_is_cut: ClassVar[bool] = False
    asked_by_image: ClassVar[bool] = False  # LLaVA's question ids are images; image and question find the answer
    max_new_tokens: ClassVar[int] = 128

    source: str = option("files", choices=("files", "hub", "llava"))
    train: str = option("")
    test: str = option("")
    images: str = option("")
    hub: str = option("")
    samples: int = option(10_000, minimum=1)
    validation: int = option(1_000, minimum=1)
    sample_seed: int = option(0)
    expect: str = option("official", choices=("official", "any"))
    _taken: dict[Split, _Taken] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check that files in LLaVA's format are named if, and only if, the source is ``llava``.

        Raises:
            UsageError: a file is named for another source, or ``source=llava`` names no file.
        """
        if (self.train or self.test) and self.source != "llava":
            raise UsageError(f"{self.name}.train and .test are files in LLaVA's form: --set {self.name}.source=llava.")
        if self.source == "llava" and not (self.train or self.test):
            raise UsageError(f"{self.name}.source=llava needs --set {self.name}.train=FILE.json or .test=FILE.jsonl.")

    @abstractmethod
    def _official(self, split: Split, intake: Intake) -> Sequence[Record]:
        """Return a split's records from the official files; never called for a cut validation split."""

    @abstractmethod
    def _of_hub(self, split: Split, intake: Intake) -> Sequence[Record]:
        """Return a split's records from the hub."""

    def _prompt(self, example: Example) -> str:
        """Return the prompt in the wording of the variant."""
        return example.question

    def _taught(self, answers: tuple[str, ...]) -> tuple[str, ...]:
        """Return the answers of a LLaVA training file as the task teaches them, or raise DataError."""
        return answers

    def _scored(self, answers: tuple[str, ...]) -> tuple[str, ...]:
        """Return the answers of a LLaVA question file as the task scores them, or raise DataError."""
        return answers

    def _limit(self, split: Split) -> int | None:
        """Return how many records a split draws; None takes the whole split in the order of its files."""
        return {"train": self.samples, "validation": self.validation}.get(split)

    @override
    def examples(self, split: Split) -> Sequence[Example]:
        return self._take(split).examples

    @override
    def prompt(self, example: Example) -> str:
        return example.question if isinstance(example, Verbatim) else self._prompt(example)

    @override
    def faults(self, split: Split) -> Sequence[Fault]:
        return self._take(split).faults

    @override
    def place(self, example: Example, split: Split) -> str:
        return self._take(split).rows[example.id].place

    @override
    def manifest(self, split: Split) -> Mapping[str, Any]:
        taken = self._take(split)
        ids = [example.id for example in taken.examples]
        return {
            "task": self.name,
            "split": split,
            "variant": self.variant,
            "options": {each.name: getattr(self, each.name) for each in fields(self) if each.init},
            "files": [{"path": str(path), "bytes": path.stat().st_size} for path in taken.files],
            "sample_seed": self.sample_seed,
            "count": len(ids),
            "sha256": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
            "skipped": [str(fault) for fault in taken.faults],
            "ids": ids,
        }

    @property
    def _folder(self) -> Path:
        return self.reading.root / self.name

    def _take(self, split: Split) -> _Taken:
        if split not in self._taken:
            intake = Intake(self.name, self.reading.skip_bad)
            records = self._records(split, intake)
            drawn = self._drawn(split, records, intake)
            examples = tuple(record.example for record in drawn)
            if not examples:
                raise DataError(self._nothing(split, intake))
            rows = {record.example.id: record.row for record in drawn}
            self._taken[split] = _Taken(examples, tuple(intake.faults), tuple(intake.files), rows)
        return self._taken[split]

    def _records(self, split: Split, intake: Intake) -> Sequence[Record]:
        named = self._named(split)
        if split == "test" or not self.validation_is_cut:
            return self._of_llava(split, intake) if named else self._whole(split, intake)
        records = self._whole("train", intake)
        images = [_image_name(record) for record in records]
        held = held_out(images, min(self.validation, len(images) // 5), self.name, "validation", self.sample_seed)
        if split == "validation":
            return [record for record in records if _image_name(record) in held]
        if named:
            records = self._of_llava(split, intake)
        return [record for record in records if _image_name(record) not in held]

    def _named(self, split: Split) -> str:
        """Return the name of the LLaVA file that replaces a split, or an empty string."""
        return {"train": self.train, "test": self.test}.get(split, "") if self.source == "llava" else ""

    def _whole(self, split: Split, intake: Intake) -> Sequence[Record]:
        """Return a split as published; the training split may still contain the validation records."""
        if self.source == "hub" and split in self.hub_splits:
            return self._of_hub(split, intake)
        return self._official(split, intake)

    def _drawn(self, split: Split, records: Sequence[Record], intake: Intake) -> list[Record]:
        """Draw records with usable images; the next record in the draw replaces one with a broken image."""
        limit = None if split == "test" and self._named(split) else self._limit(split)
        if limit is not None and limit < len(records):
            records = shuffled(records, lambda record: record.example.id, self.name, split, self.sample_seed)
        chosen: list[Record] = []
        trouble: dict[Path, str] = {}
        for record in records:
            if len(chosen) == limit:
                break
            image = record.example.image
            if isinstance(image, Path):
                if image not in trouble:
                    trouble[image] = self._trouble(image)
                if trouble[image]:
                    if not chosen:
                        self._check_folder(split, records, intake)
                    intake.refuse(record.row.place, f"its image {_shown(image)} {trouble[image]}")
                    continue
            chosen.append(record)
        return chosen

    def _check_folder(self, split: Split, records: Sequence[Record], intake: Intake) -> None:
        """Refuse a split at once if none of its images is there: their folder is missing, and no record is to blame."""
        images = [record.example.image for record in records]
        if any(not isinstance(image, Path) or _there(image) for image in images):
            return
        for count, (record, image) in enumerate(zip(records, images, strict=True)):
            place = str(record.row.file) if count >= 3 else record.row.place  # a place takes a second to find
            intake.faults.append(
                Fault(place, f"its image {_shown(Path(str(image)))} {self._trouble(Path(str(image)))}")
            )
        raise DataError(self._nothing(split, intake))

    def _nothing(self, split: Split, intake: Intake) -> str:
        return f"{self.name}: its {split} split has no usable example. {intake.summary()}"

    def _trouble(self, image: Path) -> str:
        """Return why an image is unusable, judged by its header; ``bench data check`` reads the whole file."""
        reason = image_fault(image)
        if reason != "is missing":
            return reason
        return f"is missing (bench data get {self.name}, or --set {self.name}.images=FOLDER)"

    def _of_llava(self, split: Split, intake: Intake) -> Sequence[Record]:
        path = self.reading.root / self._named(split)
        files = LlavaFiles(intake, self._found_image, self._taught if split == "train" else self._scored)
        if split == "train":
            return files.conversations(path)
        return files.questions(path, lambda: self._official("test", intake), by_image=self.asked_by_image)

    def _hub_rows(self, split: str, intake: Intake, config: str | None = None) -> list[Row]:
        address, _, revision = (self.hub or self.default_hub).partition("@")
        local = self.reading.root / address
        address = str(local) if local.is_dir() else address
        return hub_rows(HubRows(address, revision or "main", config, split, self._folder / "hub"), intake)

    def _hub_image(self, row: Row, column: str = "image") -> Path:
        image = row.value[column] if row.has(column) else None
        if isinstance(image, dict):  # what hub_files leaves as it is
            raise DataError(f"{column} has no bytes, and there is no file {image.get('path')}")
        return row.file.parent / row.text(column)

    def _image(self, relative: str) -> Path:
        """Return the path of an image of the official files, in its own folder or in ``images``."""
        if not self.images:
            return Path(
                f"{self.reading.root}/{self.image_root}/{relative}"
            )  # takes half the time of `/` on 414,113 captions
        base = self.reading.root / self.images
        whole, flat = base / relative, base / Path(relative).name
        return flat if flat.is_file() and not whole.is_file() else whole

    def _found_image(self, relative: str) -> Path:
        """Return the path of an image that a LLaVA file names relative to one of several folders."""
        base = self.reading.root / (self.images or self.image_root)
        parts = PurePosixPath(relative.replace("\\", "/")).parts or (relative,)  # a file made on Windows
        tails = [base.joinpath(*parts[place:]) for place in range(len(parts))]
        inner = [base / folder / parts[-1] for folder in self.image_folders]
        places = (*tails[:-1], *inner, tails[-1], self.reading.root / relative)
        return next((path for path in places if _there(path)), places[0])

    def _count(self, what: str, found: int, official: int) -> None:
        """Raise DataError if the count differs from that of the official files, unless ``expect=any``."""
        if found != official and self.expect == "official":
            raise DataError(
                f"{self.name}: there are {found} {what}, not the official {official}. Get the files again with: "
                f"bench data get {self.name}; or take them as they are: --set {self.name}.expect=any."
            )


def _shown(path: Path) -> str:
    """Return a path on one line for a message; a record may hold the bytes of an image where its path should be."""
    text = str(path) if str(path).isprintable() else repr(str(path))
    return text if len(text) <= 300 else f"{text[:300]}…"


def _there(path: Path) -> bool:
    """Return whether a file exists; a name that is too long for any file returns False."""
    try:
        return path.is_file()
    except OSError:
        return False


def _image_name(record: Record) -> str:
    image = record.example.image
    return image.name if isinstance(image, Path) else record.example.id
