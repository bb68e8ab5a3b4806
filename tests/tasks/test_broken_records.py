"""What is wrong in an official file is told by file, line and record; never by a traceback."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import DataError, Fault
from bench.tasks.record_lines import record_line
from tests.layouts import NAMES, edit, opened

TEST_EXAMPLES = {"iconqa": 6, "coco_caption": 6, "okvqa": 9, "ocrvqa": 18, "gqa": 12, "textvqa": 12}
ODD: tuple[Any, ...] = (None, 5, -3, [], {}, "x", True, ["a", 3], {"a": 1}, 1.5, "", [None], [{}])


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_image_is_a_fault_of_its_record(copied: Path, name: str) -> None:
    lost = opened(name, copied).examples("test")[0].image
    assert isinstance(lost, Path)
    lost.unlink()

    with pytest.raises(DataError, match=rf"json:\d+ \(record .*\): its image {lost} is missing.*--skip-bad"):
        opened(name, copied).examples("test")
    task = opened(name, copied, skip_bad=3)
    assert lost not in {example.image for example in task.examples("test")}
    assert len(task.faults("test")) + len(task.examples("test")) == TEST_EXAMPLES[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_no_picture_is_a_fault_of_its_record(copied: Path, name: str) -> None:
    page = opened(name, copied).examples("test")[0].image
    assert isinstance(page, Path)
    page.write_text("<html>gone</html>", encoding="utf-8")

    with pytest.raises(DataError, match=rf"json:\d+ \(record .*\): its image {page} is not an image .*\(17 bytes\)"):
        opened(name, copied).examples("test")
    task = opened(name, copied, skip_bad=3)
    assert page not in {example.image for example in task.examples("test")}
    assert len(task.faults("test")) + len(task.examples("test")) == TEST_EXAMPLES[name]


def test_a_broken_record_is_named_by_its_file_its_line_its_number_and_its_id(copied: Path) -> None:
    path = copied / "okvqa" / "OpenEnded_mscoco_val2014_questions.json"
    edit(path, lambda whole: whole["questions"][2].pop("question"), indent=1)

    with pytest.raises(
        DataError, match=rf"{path}:14 \(record 3, question_id \d+\): question is missing\. That is broken record 1"
    ):
        opened("okvqa", copied).examples("test")


def test_as_many_broken_records_as_allowed_are_skipped_and_told(copied: Path) -> None:
    path = copied / "gqa" / "questions1.2" / "testdev_balanced_questions.json"
    first, second = list(json.loads(path.read_text(encoding="utf-8")))[:2]

    def spoil(whole: dict[str, Any]) -> None:
        whole[first]["answer"] = ""
        whole[second] = 7

    edit(path, spoil)
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
        ("iconqa", "iconqa_data/problems.json", None, "choices", ["one", " "], "its option B is empty"),
        ("coco_caption", "dataset_coco.json", "images", "sentences", [], "it has no caption"),
        ("okvqa", "mscoco_val2014_annotations.json", "annotations", "answers", [{"answer": "a"}], "it has 1 answers"),
        ("okvqa", "mscoco_val2014_annotations.json", "annotations", "question_id", 5, "has no annotation"),
        (
            "okvqa",
            "mscoco_val2014_annotations.json",
            "annotations",
            "question_id",
            [],
            r"record 9, question_id \[\]\): question_id is \[\]",
        ),
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

    edit(copied / name / file, spoil)

    with pytest.raises(DataError, match=reason):
        opened(name, copied).examples("test")


def test_all_broken_records_of_a_large_document_have_the_lines_where_they_start(copied: Path) -> None:
    path = copied / "okvqa" / "OpenEnded_mscoco_val2014_questions.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    rows = ['{\n "question_id": 1,\n "image_id": "]}\\""\n}', "7", "[\n]", "\n\n{}"] * 100
    others = {key: value for key, value in whole.items() if key != "questions"}
    text = json.dumps({**others, "list": [whole]})[:-1] + ',\n\n"questions" :\n[' + " ,\r\n".join(rows) + "]}"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    good = opened("okvqa", copied, skip_bad=999)

    with pytest.raises(DataError, match=rf"Broken: 400. The first reasons: {path}:4 \(record 1, .*; {path}:8 \(rec.*"):
        good.examples("test")
    assert record_line(path, "questions", 2) == 9
    assert record_line(path, "questions", 3) == 13
    assert record_line(path, "questions", 399) == 99 * 10 + 13
    assert record_line(path, "questions", 400) is None
    assert record_line(path, "other", 0) is None


@pytest.mark.parametrize("text", ["", "{", "[1", '{"a": 1', '{"a" 1}', "7", "[1,]"])
def test_a_document_that_was_cut_off_since_it_was_read_has_no_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cut.json"
    path.write_text(text, encoding="utf-8")

    assert record_line(path, None, 5) is None
    assert record_line(tmp_path / "none.json", None, 0) is None


@pytest.mark.parametrize(
    ("name", "file"),
    [("gqa", "questions1.2/testdev_balanced_questions.json"), ("iconqa", "iconqa_data/problems.json")],
)
def test_a_list_in_place_of_a_mapping_is_told(copied: Path, name: str, file: str) -> None:
    path = copied / name / file
    path.write_text(json.dumps(list(json.loads(path.read_text(encoding="utf-8")).values())), encoding="utf-8")

    with pytest.raises(DataError, match=rf"{path} holds \[.* where a mapping of records by their ids should be"):
        opened(name, copied, skip_bad=99).examples("test")


def test_a_file_that_this_user_may_not_read_is_told(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)

    with pytest.raises(DataError, match=r"gqa: .*\.json cannot be read: permission denied"):
        opened("gqa", copied).examples("test")


def test_a_split_that_is_too_small_to_cut_from_is_told(copied: Path) -> None:
    path = copied / "okvqa" / "OpenEnded_mscoco_train2014_questions.json"
    edit(path, lambda whole: whole.update(questions=whole["questions"][:3]))

    with pytest.raises(DataError, match=rf"Records read: 3 from {path}. None is broken; the split needs more records"):
        opened("okvqa", copied).examples("validation")


def test_an_id_that_stands_twice_is_a_fault(copied: Path) -> None:
    path = copied / "textvqa" / "TextVQA_0.5.1_val.json"
    edit(path, lambda whole: whole["data"].append(whole["data"][0]))

    with pytest.raises(DataError, match=r"record 13, .*\): the id \d+ is that of .*record 1, .*\) too"):
        opened("textvqa", copied).examples("test")


def test_a_torn_file_is_named_by_the_line_where_it_breaks(copied: Path) -> None:
    path = copied / "ocrvqa" / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=0)[:200], encoding="utf-8")

    with pytest.raises(DataError, match=rf"{path}:\d+ is not JSON: .*Get the file again"):
        opened("ocrvqa", copied).examples("test")


@pytest.mark.parametrize(("content", "what"), [([], "None"), ({"data": 5}, "5"), ({"info": []}, "None"), (7, "None")])
def test_a_file_without_records_is_told_apart_from_an_empty_one(copied: Path, content: object, what: str) -> None:
    path = copied / "textvqa" / "TextVQA_0.5.1_val.json"
    path.write_text(json.dumps(content), encoding="utf-8")

    with pytest.raises(DataError, match=rf"{path} holds {what} under 'data' where a list of records should be"):
        opened("textvqa", copied).examples("test")


def test_a_problem_that_is_listed_but_not_there_is_a_fault(copied: Path) -> None:
    edit(copied / "iconqa" / "iconqa_data" / "pid_splits.json", lambda whole: whole["choose_txt_test"].append("77"))

    with pytest.raises(DataError, match=r"pid_splits.json:1 \(record 7\): problem 77 is listed, but not in"):
        opened("iconqa", copied).examples("test")


@pytest.mark.parametrize("name", NAMES)
def test_whatever_stands_anywhere_in_a_file_is_read_or_told(copied: Path, name: str) -> None:
    rng = random.Random(0)
    for path in (path for path in (copied / name).rglob("*.json") if path.name != "data.json"):
        text = path.read_text(encoding="utf-8")
        for _ in range(12):
            content = json.loads(text)
            *above, last = rng.choice(list(places(content)))
            inner = content
            for key in above:
                inner = inner[key]
            inner[last] = rng.choice(ODD)
            path.write_text(json.dumps(content), encoding="utf-8")
            for split in ("train", "validation", "test"):
                try:
                    examples = opened(name, copied, skip_bad=rng.choice((0, 99))).examples(split)  # type: ignore[arg-type]
                except DataError:
                    continue
                assert all(isinstance(answer, str) for example in examples for answer in example.answers)
        path.write_text(text, encoding="utf-8")


def places(value: Any, *above: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the path of keys and indices to everything inside a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*above, key)
        yield from places(inner, *above, key)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_a_json_file_in_another_encoding_than_utf8_is_refused_by_its_name(copied: Path, encoding: str) -> None:
    path = copied / "gqa" / "questions1.2" / "testdev_balanced_questions.json"
    path.write_bytes(path.read_text(encoding="utf-8").replace("?", " à é?").encode(encoding))

    with pytest.raises(DataError, match=rf"^{path} is not UTF-8 text: .*\. Get the file again\.$"):
        opened("gqa", copied).examples("test")
