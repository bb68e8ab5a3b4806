"""The six real tasks on small data sets in their official layouts: what is read, drawn, cut, and refused."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench import DataError, Example, Fault, Split, Task
from bench.tasks.okvqa import OKVQA
from tests.layouts import COLORS, NAMES, Sizes, opened, write_files

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SIZES = {  # with Sizes(train=12, validation=4, test=6) and two to five questions a picture
    "iconqa": (12, 4, 6),
    "coco_caption": (60, 4, 6),
    "okvqa": (20, 4, 9),
    "ocrvqa": (36, 12, 18),
    "gqa": (24, 8, 12),
    "textvqa": (26, 6, 12),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in NAMES:
        write_files(folder, name, Sizes(12, 4, 6))
    return folder


@pytest.fixture
def copied(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "data"))


def edited(path: Path, change: Callable[[Any], None], indent: int | None = None) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=indent))


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


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_image_is_a_fault_of_its_record(copied: Path, name: str) -> None:
    lost = opened(name, copied).examples("test")[0].image
    assert isinstance(lost, Path)
    lost.unlink()

    with pytest.raises(DataError, match=rf"json:1 \(record .*\): its image {lost} is missing.*--skip-bad"):
        opened(name, copied).examples("test")
    task = opened(name, copied, skip_bad=3)
    assert lost not in {example.image for example in task.examples("test")}
    assert len(task.faults("test")) + len(task.examples("test")) == SIZES[name][2]


def test_a_broken_record_is_named_by_its_line_and_its_record(copied: Path) -> None:
    path = copied / "okvqa" / "OpenEnded_mscoco_val2014_questions.json"
    edited(path, lambda whole: whole["questions"][2].pop("question"), indent=1)

    # lines 1 to 3 open the file, and each of the two records before takes five
    with pytest.raises(DataError, match=rf"{path}:14 \(record 3\): question is missing\. That is broken record 1"):
        opened("okvqa", copied).examples("test")


def test_as_many_broken_records_as_allowed_are_skipped_and_told(copied: Path) -> None:
    path = copied / "gqa" / "questions1.2" / "testdev_balanced_questions.json"
    first, second = list(json.loads(path.read_text()))[:2]

    def spoil(whole: dict[str, Any]) -> None:
        whole[first]["answer"] = ""
        whole[second] = 7

    edited(path, spoil)
    task = opened("gqa", copied, skip_bad=2)

    assert len(task.examples("test")) == 10
    assert task.faults("test") == (
        Fault(f"{path}:1 (record {first})", "answer is '', not a text"),
        Fault(f"{path}:1 (record {second})", "it is 7, not a record"),
    )
    with pytest.raises(DataError, match=rf"record {second}.*broken record 2, and 1 may be skipped"):
        opened("gqa", copied, skip_bad=1).examples("test")


@pytest.mark.parametrize(
    ("name", "file", "under", "field", "value", "reason"),
    [
        ("iconqa", "iconqa_data/problems.json", None, "answer", 9, "answer is 9, and there are"),
        ("iconqa", "iconqa_data/problems.json", None, "choices", ["one"], "it has 1 choices"),
        ("iconqa", "iconqa_data/problems.json", None, "choices", "a,b", "choices is 'a,b', not a list"),
        ("coco_caption", "dataset_coco.json", "images", "sentences", [], "it has no caption"),
        ("okvqa", "mscoco_val2014_annotations.json", "annotations", "answers", [{"answer": "a"}], "it has 1 answers"),
        ("okvqa", "mscoco_val2014_annotations.json", "annotations", "question_id", 5, "has no annotation"),
        ("ocrvqa", "dataset.json", None, "answers", ["one"], "it has 3 questions and 1 answers"),
        ("ocrvqa", "dataset.json", None, "split", 4, "split is 4"),
        ("gqa", "questions1.2/testdev_balanced_questions.json", None, "imageId", None, "imageId is None, not an id"),
        ("textvqa", "TextVQA_0.5.1_val.json", "data", "answers", [""] * 10, "its answers are all empty"),
        ("textvqa", "TextVQA_Rosetta_OCR_v0.2_val.json", "data", "image_id", "other", "has no OCR tokens"),
    ],
)
def test_each_kind_of_broken_record_is_told(  # noqa: PLR0913  a table
    copied: Path, name: str, file: str, under: str | None, field: str, value: object, reason: str
) -> None:
    def spoil(whole: Any) -> None:
        records = whole[under] if under else whole
        last = records[-1] if isinstance(records, list) else records[list(records)[-1]]
        if name == "iconqa":  # the last of all is no choose_txt
            last = records[list(records)[-2]]
        last[field] = value

    edited(copied / name / file, spoil)

    with pytest.raises(DataError, match=reason):
        opened(name, copied).examples("test")


def test_an_id_that_stands_twice_is_a_fault(copied: Path) -> None:
    path = copied / "textvqa" / "TextVQA_0.5.1_val.json"
    edited(path, lambda whole: whole["data"].append(whole["data"][0]))

    with pytest.raises(DataError, match=r"record 13\): the id \d+ is that of .*record 1\) too"):
        opened("textvqa", copied).examples("test")


def test_a_torn_file_is_named_by_the_line_where_it_breaks(copied: Path) -> None:
    path = copied / "ocrvqa" / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=0)[:200])

    with pytest.raises(DataError, match=rf"{path}:\d+ is not JSON: .*Get the file again"):
        opened("ocrvqa", copied).examples("test")


def test_a_problem_that_is_listed_but_not_there_is_a_fault(copied: Path) -> None:
    edited(copied / "iconqa" / "iconqa_data" / "pid_splits.json", lambda whole: whole["choose_txt_test"].append("77"))

    with pytest.raises(DataError, match=r"pid_splits.json:1 \(record 7\): problem 77 is listed, but not in"):
        opened("iconqa", copied).examples("test")


def test_a_draw_depends_on_ids_alone(copied: Path) -> None:
    drawn = ids(opened("gqa", copied, samples=9), "train")
    path = copied / "gqa" / "questions1.2" / "train_balanced_questions.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(whole.items()))))

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
    assert example.answers.count(example.answers[0]) == 7


def test_questions_of_other_kinds_are_left_out_of_iconqa(root: Path) -> None:
    assert not [name for name in ids(opened("iconqa", root), "test") if name.startswith("9")]


def test_unbalanced_questions_are_left_out_of_gqa(copied: Path) -> None:
    path = copied / "gqa" / "questions1.2" / "testdev_balanced_questions.json"
    first = next(iter(json.loads(path.read_text())))
    edited(path, lambda whole: whole[first].update(isBalanced=False))

    assert first not in ids(opened("gqa", copied), "test")


def test_a_cover_may_have_the_ending_of_its_address(copied: Path) -> None:
    path = copied / "ocrvqa" / "images" / "4200000.jpg"
    path.rename(path.with_suffix(".gif"))
    address = "http://images.example/4200000.gif"
    edited(copied / "ocrvqa" / "dataset.json", lambda whole: whole["4200000"].update(imageURL=address))

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
    assert manifest["sha256"] == hashlib.sha256("\n".join(names).encode()).hexdigest()
    files = [root / "textvqa" / f"TextVQA_{part}_train.json" for part in ("0.5.1", "Rosetta_OCR_v0.2")]
    assert manifest["files"] == [{"path": str(path), "bytes": path.stat().st_size} for path in files]


def test_a_cut_splits_declared_sizes_are_those_of_the_official_files() -> None:
    assert OKVQA.sizes["train"] + OKVQA.sizes["validation"] == 9_009
