"""The six real tasks on small data sets in their official layouts: what is read, drawn, cut, and refused."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from bench import DataError, Example, Split, Task
from bench.plugins.task import SPLITS
from bench.tasks.okvqa import OKVQA
from tests.layouts import COLORS, NAMES, edit, opened

SIZES = {  # of conftest.py: Sizes(train=12, validation=4, test=6), and two to five questions per image
    "iconqa": (12, 4, 6),
    "coco_caption": (60, 4, 6),
    "okvqa": (20, 4, 9),
    "ocrvqa": (36, 12, 18),
    "gqa": (24, 8, 12),
    "textvqa": (26, 6, 12),
}


def ids(task: Task, split: Split) -> list[str]:
    return [example.id for example in task.examples(split)]


def color(example: Example) -> str:
    """What a picture shows: the nearest of the generator's colours to its mean."""
    assert isinstance(example.image, Path)
    with Image.open(example.image) as image:
        mean = image.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert isinstance(mean, tuple)
    return min(COLORS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLORS[name], mean, strict=True)))


@pytest.mark.parametrize("name", NAMES)
def test_every_split_is_read_from_the_official_files(root: Path, name: str) -> None:
    task = opened(name, root)

    assert tuple(len(task.examples(split)) for split in SPLITS) == SIZES[name]
    assert not any(task.faults(split) for split in SPLITS)


@pytest.mark.parametrize("name", NAMES)
def test_no_id_and_no_picture_is_in_two_splits(root: Path, name: str) -> None:
    task = opened(name, root)
    names = [set(ids(task, split)) for split in SPLITS]
    images = [{example.image for example in task.examples(split)} for split in SPLITS]

    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert not names[first] & names[second]
        assert not images[first] & images[second]


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_of_a_question_shows_its_answer(root: Path, name: str) -> None:
    for example in opened(name, root).examples("test"):
        shown, answer = color(example), example.answers[0]
        if name == "iconqa":
            answer = example.hints["ABCDE".index(answer)]
        if name == "ocrvqa":
            answer = shown if answer in ("Arts", "Yes", "No") else answer.split()[0]
        assert shown in answer


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_data_set_is_named_with_the_command_that_gets_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"{tmp_path}.* is missing\. Get it with: bench data get {name}"):
        opened(name, tmp_path).examples("test")


@pytest.mark.parametrize(
    ("name", "found", "official"),
    [
        ("iconqa", 6, 6_316),
        ("coco_caption", 6, 5_000),
        ("okvqa", 9, 5_046),
        ("ocrvqa", 22, 207_572),
        ("gqa", 12, 12_578),
        ("textvqa", 12, 5_000),
    ],
)
def test_counts_other_than_the_official_ones_are_refused(root: Path, name: str, found: int, official: int) -> None:
    with pytest.raises(DataError, match=rf"there are {found} .*not the official {official}.*{name}\.expect=any"):
        opened(name, root, expect="official").examples("test")


def test_a_draw_depends_on_ids_alone(copied: Path) -> None:
    drawn = ids(opened("gqa", copied, samples=9), "train")
    path = copied / "gqa" / "questions1.2" / "train_balanced_questions.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(dict(reversed(whole.items()))), encoding="utf-8")

    assert ids(opened("gqa", copied, samples=9), "train") == drawn
    assert ids(opened("gqa", copied, samples=5), "train") == drawn[:5]
    assert ids(opened("gqa", copied, samples=9, sample_seed=1), "train") != drawn
    keys = sorted(whole, key=lambda key: hashlib.sha256(f"gqa/train/0/{key}".encode()).hexdigest())
    assert drawn == keys[:9]


def test_a_drawn_record_without_its_image_is_replaced_by_the_next_one_drawn(copied: Path) -> None:
    drawn = opened("ocrvqa", copied, samples=12).examples("train")
    lost = drawn[0].image
    assert isinstance(lost, Path)
    lost.unlink()
    kept = [example.id for example in drawn if example.image != lost]

    task = opened("ocrvqa", copied, skip_bad=3, samples=12)

    assert len(task.examples("train")) == 12
    assert ids(task, "train")[: len(kept)] == kept
    assert len(task.faults("train")) >= 1


def test_ocrvqas_questions_are_told_by_their_cover_and_place_from_0(root: Path) -> None:
    covers = json.loads((root / "ocrvqa" / "dataset.json").read_text(encoding="utf-8"))
    ids = [f"{key}-{place}" for key, cover in covers.items() if cover["split"] == 3 for place in range(3)]

    assert sorted(example.id for example in opened("ocrvqa", root).examples("test")) == sorted(ids)


def test_ocrvqas_test_is_a_draw_of_its_own_size(root: Path) -> None:
    assert len(opened("ocrvqa", root, test_samples=7).examples("test")) == 7
    assert len(opened("gqa", root, samples=1, validation=1).examples("test")) == 12


@pytest.mark.parametrize("name", ["okvqa", "textvqa"])
def test_a_validation_cut_out_of_the_training_split_takes_whole_images(root: Path, name: str) -> None:
    task = opened(name, root, validation=4)

    kept, held = ({example.image for example in task.examples(split)} for split in SPLITS[:2])

    assert not kept & held
    assert len(kept) + len(held) == 16
    assert len(task.examples("validation")) == 4


def test_where_the_data_lie_does_not_move_the_cut(root: Path, copied: Path) -> None:
    assert ids(opened("okvqa", copied), "validation") == ids(opened("okvqa", root), "validation")


def test_the_majoritys_answer_is_taught_and_all_ten_count(root: Path) -> None:
    example = opened("okvqa", root).examples("test")[0]

    assert len(example.answers) == 10
    assert not any(answer.endswith("s") for answer in example.answers)  # as raw_answer does
    assert example.answers.count(example.answers[0]) == 7


def test_questions_of_other_kinds_are_left_out_of_iconqa(root: Path) -> None:
    assert not [name for name in ids(opened("iconqa", root), "test") if name.startswith("9")]


def test_unbalanced_questions_are_left_out_of_gqa(copied: Path) -> None:
    path = copied / "gqa" / "questions1.2" / "testdev_balanced_questions.json"
    first = next(iter(json.loads(path.read_text(encoding="utf-8"))))
    edit(path, lambda whole: whole[first].update(isBalanced=False))

    assert first not in ids(opened("gqa", copied), "test")


def test_a_cover_may_have_the_ending_of_its_address(copied: Path) -> None:
    path = copied / "ocrvqa" / "images" / "4200000.jpg"
    path.rename(path.with_suffix(".gif"))
    address = "http://images.example/4200000.gif"
    edit(copied / "ocrvqa" / "dataset.json", lambda whole: whole["4200000"].update(imageURL=address))

    images = {example.image for example in opened("ocrvqa", copied).examples("test")}

    assert path.with_suffix(".gif") in images


def test_another_folder_of_images_is_found_by_path_or_by_name(copied: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (copied / "coco" / "val2014").iterdir():
        shutil.move(path, flat / path.name)

    task = opened("coco_caption", copied, images=str(flat))

    assert {example.image.parent for example in task.examples("test") if isinstance(example.image, Path)} == {flat}


def test_a_manifest_says_what_was_read_and_drawn(root: Path) -> None:
    task = opened("textvqa", root, samples=5)

    manifest = json.loads(json.dumps(task.manifest("train")))

    names = ids(task, "train")
    assert manifest["ids"] == names
    assert manifest["count"] == 5
    assert manifest["sample_seed"] == 0
    assert manifest["options"]["samples"] == 5
    assert manifest["sha256"] == hashlib.sha256("\n".join(names).encode()).hexdigest()
    files = [root / "textvqa" / f"TextVQA_{part}_train.json" for part in ("0.5.1", "Rosetta_OCR_v0.2")]
    assert manifest["files"] == [{"path": str(path), "bytes": path.stat().st_size} for path in files]


def test_a_cut_splits_declared_sizes_are_those_of_the_official_files() -> None:
    assert OKVQA.sizes["train"] + OKVQA.sizes["validation"] == 9_009
