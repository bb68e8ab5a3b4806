"""The hub's columns, through datasets from a folder of parquet files: the same questions, the same pictures."""

import builtins
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench import DataError, Example, Task
from bench.tasks.hub_files import _as_file
from bench.tasks.iconqa import _letter, _split
from bench.tasks.rows import Row
from tests.layouts import NAMES, Sizes, edit, opened, write_files, write_hub

SIZES = Sizes(6, 3, 4)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in NAMES:
        write_files(folder, name, SIZES)
        write_hub(folder / "on-hub" / name, name, SIZES)
    return folder


def from_hub(name: str, root: Path, **settings: Any) -> Task:
    return opened(name, root, **{"source": "hub", "hub": str(root / "on-hub" / name), **settings})


def pixels(example: Example) -> bytes:
    assert isinstance(example.image, Path)
    with Image.open(example.image) as image:
        return image.convert("RGB").tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_hub_gives_the_questions_answers_and_pictures_of_the_official_files(root: Path, name: str) -> None:
    official = {example.id: example for example in opened(name, root).examples("test")}
    task = from_hub(name, root)
    found = task.examples("test")

    assert {example.id for example in found} == set(official)
    for example in found:
        other = official[example.id]
        assert (task.prompt(example), example.answers) == (task.prompt(other), other.answers)
        assert example.image != other.image
        assert pixels(example) == pixels(other)


@pytest.mark.parametrize("name", ["ocrvqa", "gqa", "textvqa"])
def test_train_and_validation_come_from_the_hub_where_it_has_them(root: Path, name: str) -> None:
    task = from_hub(name, root)

    for split in ("train", "validation"):
        examples = task.examples(split)  # type: ignore[arg-type]
        assert {"hub" in str(example.image) for example in examples} == {True}


def test_rows_are_written_once_and_read_from_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = from_hub("okvqa", root).examples("test")
    monkeypatch.setattr("datasets.load_dataset", None)

    assert from_hub("okvqa", root).examples("test") == first


def test_a_changed_folder_is_another_revision(tmp_path: Path) -> None:
    hub = write_hub(tmp_path / "on-hub" / "ocrvqa", "ocrvqa", Sizes(1, 1, 2))
    assert len(from_hub("ocrvqa", tmp_path).examples("test")) == 6
    write_hub(hub, "ocrvqa", Sizes(1, 1, 3))

    assert len(from_hub("ocrvqa", tmp_path).examples("test")) == 9


def test_equal_pictures_share_a_file(root: Path) -> None:
    examples = from_hub("textvqa", root).examples("test")

    assert len(examples) == 8
    assert len({example.image for example in examples}) == 4


def test_a_hub_id_goes_with_its_revision_and_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(*words: object, **named: object) -> None:
        asked.append((words, named))
        raise ConnectionError("no route\nmore")

    monkeypatch.setattr("datasets.load_dataset", refuse)

    with pytest.raises(
        DataError, match=r"me/gqa@v2 \(testdev_balanced_images, testdev\) cannot be loaded: Conn.*route\. Check"
    ):
        opened("gqa", tmp_path, source="hub", hub="me/gqa@v2").examples("test")
    assert asked == [(("me/gqa", "testdev_balanced_images"), {"split": "testdev", "revision": "v2"})]


def test_without_datasets_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(DataError, match=r"source=hub needs the package datasets: pip install 'retain-bench\[hub\]'"):
        opened("okvqa", tmp_path, source="hub").examples("test")


@pytest.mark.parametrize(
    ("answer", "choices", "letter"),
    [("red", ("blue", "red"), "B"), ("1", ("2", "3", "1"), "C"), ("A", ("b", "A"), "B")],
)
def test_iconqas_answer_on_the_hub_repeats_an_option(answer: str, choices: tuple[str, ...], letter: str) -> None:
    assert _letter(answer, choices) == letter


@pytest.mark.parametrize(("answer", "choices"), [("1", ("1", "1")), ("B", ("blue", "red")), ("0", ("2", "3"))])
def test_iconqas_answer_is_refused_where_it_repeats_none_or_several(answer: str, choices: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=r"read the official files \(source=files\)"):
        _letter(answer, choices)


def test_iconqas_joined_choices_are_refused_where_an_option_may_hold_the_comma() -> None:
    assert _split("red, blue, 10") == _split("red,blue,10") == ("red", "blue", "10")
    for text in ("1,000,2,000", "red, blue,10"):  # the second may be two options, the first of them red and blue
        with pytest.raises(DataError, match="may hold a comma inside an option"):
            _split(text)


def test_a_broken_row_is_named_by_the_line_of_the_file_that_was_written(root: Path) -> None:
    task = from_hub("gqa", root)
    first = task.examples("test")
    path = next((root / "gqa" / "hub").rglob("testdev_balanced_instructions-testdev.jsonl"))
    rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text(
        "\n".join([rows[0], json.dumps({**json.loads(rows[1]), "answer": None}), *rows[2:]]), encoding="utf-8"
    )

    with pytest.raises(DataError, match=rf"{path}:2: answer is None, not a text"):
        from_hub("gqa", root).examples("test")
    path.write_text("\n".join(rows), encoding="utf-8")
    assert from_hub("gqa", root).examples("test") == first


def test_a_picture_of_karpathys_that_the_hub_lacks_is_a_fault(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "coco_caption", tmp_path / "coco_caption")
    path = tmp_path / "coco_caption" / "dataset_coco.json"
    edit(path, lambda whole: whole["images"].append({**whole["images"][-1], "cocoid": 77}))
    hub = str(root / "on-hub" / "coco_caption")

    with pytest.raises(DataError, match=rf"{path}:1 \(record \d+.*\): the hub's data set has no picture 77"):
        opened("coco_caption", tmp_path, source="hub", hub=hub).examples("test")
    task = opened("coco_caption", tmp_path, skip_bad=1, source="hub", hub=hub)
    assert (len(task.examples("test")), len(task.faults("test"))) == (4, 1)


def test_a_picture_with_a_path_and_no_bytes_is_a_broken_record(tmp_path: Path) -> None:
    lost = {"bytes": None, "path": "elsewhere/1.jpg"}

    row = Row(tmp_path / "default-test.jsonl", 4, {"image": _as_file(lost, tmp_path)}, lines=True)

    assert row.place.endswith("default-test.jsonl:5")
    with pytest.raises(DataError, match=r"image has no bytes, and there is no file elsewhere/1\.jpg"):
        opened("textvqa", tmp_path)._hub_image(row)  # type: ignore[attr-defined]
