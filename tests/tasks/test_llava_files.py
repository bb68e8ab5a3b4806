"""LLaVA's own files in place of a split: prompts verbatim, answers from where LLaVA's scripts take them."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench import DataError, Example, Task, UsageError
from bench.tasks.llava_files import asked
from tests.layouts import NAMES, Sizes, opened, write_files, write_llava

SIZES = Sizes(10, 4, 5)
Files = dict[str, tuple[Path, Path]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in NAMES:
        write_files(folder, name, SIZES)
    return folder


@pytest.fixture(scope="module")
def files(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("llava")
    return {name: write_llava(folder, name, SIZES) for name in NAMES}


def read(name: str, root: Path, files: Files, **settings: Any) -> Task:
    train, test = files[name]
    return opened(name, root, **{"source": "llava", "train": str(train), "test": str(test), **settings})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_a_test_prompt_is_the_text_of_the_file(root: Path, files: Files, name: str) -> None:
    task = read(name, root, files)

    assert [task.prompt(example) for example in task.examples("test")] == [row["text"] for row in lines(files[name][1])]


def test_a_test_prompt_keeps_its_outer_space_but_for_that_of_an_image_slot(root: Path, files: Files) -> None:
    rows = lines(files["coco_caption"][1])
    rows[0]["text"], rows[1]["text"] = "Describe it. ", "<image>\nDescribe it."
    path = write_lines(root / "spaced.jsonl", rows)

    examples = read("coco_caption", root, files, test=str(path)).examples("test")

    assert [example.question for example in examples][:2] == ["Describe it. ", "Describe it."]


@pytest.mark.parametrize("name", NAMES)
def test_a_training_prompt_is_the_human_turn_without_the_image_slot(root: Path, files: Files, name: str) -> None:
    task = read(name, root, files)
    turns = [row["conversations"] for row in json.loads(files[name][0].read_text(encoding="utf-8"))]
    images = {example.image for example in task.examples("validation")}

    taught = {(task.prompt(example), example.answers[0]) for example in task.examples("train")}

    assert taught <= {(turn[0]["value"].removeprefix("<image>\n"), turn[1]["value"]) for turn in turns}
    assert not images & {example.image for example in task.examples("train")}


@pytest.mark.parametrize("name", NAMES)
def test_the_answers_are_those_of_the_official_files(root: Path, files: Files, name: str) -> None:
    official = {key(e): e.answers for e in opened(name, root).examples("test")}

    asked = read(name, root, files).examples("test")

    assert [e.answers for e in asked] == [official[key(e)] for e in asked]


def key(example: Example) -> tuple[object, str]:
    line = example.question.splitlines()[0]
    return example.image, "" if line.startswith(("Provide", "Describe")) else line


def test_textvqas_repeated_question_ids_get_each_questions_own_answers(root: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(root, tmp_path / "data"))
    path = data / "textvqa" / "TextVQA_0.5.1_val.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    for row in whole["data"]:
        row["answers"] = [f"{row['question']} of {row['image_id']}"] * 10
    path.write_text(json.dumps(whole), encoding="utf-8")

    task = read("textvqa", data, {"textvqa": write_llava(tmp_path, "textvqa", SIZES)})
    examples = task.examples("test")

    assert len({row["question_id"] for row in lines(tmp_path / "textvqa-test.jsonl")}) == 5
    assert len({example.id for example in examples}) == 10
    for example in examples:
        assert isinstance(example.image, Path)
        assert example.answers[0] == f"{example.question.splitlines()[0]} of {example.image.stem}"


def test_the_case_of_a_question_and_the_place_of_its_tokens_do_not_matter(
    root: Path, files: Files, tmp_path: Path
) -> None:
    rows = lines(files["textvqa"][1])
    question, tokens, suffix = rows[0]["text"].splitlines()
    rows[0]["text"] = "\n".join([tokens, question.upper(), suffix])
    path = write_lines(tmp_path / "test.jsonl", rows)

    task = read("textvqa", root, files, test=str(path))

    assert task.examples("test")[0].answers == read("textvqa", root, files).examples("test")[0].answers


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("What is it?\nReference OCR token: a, b\nAnswer.", "What is it?"),
        ("Reference OCR token: a, b\nWhat is it?\nAnswer.", "What is it?"),
        ("What is it? \nAnswer.", "What is it?"),
        ("What is it?", "What is it?"),
        ("OCR tokens: a, b. Question: What is it? Short answer:", "What is it?"),
        ("Reference OCR token: a", ""),
    ],
)
def test_a_question_is_found_in_each_form_that_llavas_script_reads(text: str, question: str) -> None:
    assert asked(text) == question


def test_a_files_own_answers_go_first(root: Path, files: Files, tmp_path: Path) -> None:
    rows = lines(files["gqa"][1])[:2]
    path = write_lines(tmp_path / "test.jsonl", [{**rows[0], "answer": "mine"}, rows[1]])

    examples = read("gqa", root, files, test=str(path)).examples("test")

    assert [example.answers[0] == "mine" for example in examples] == [True, False]


def test_with_all_answers_in_the_file_no_official_file_is_needed(root: Path, files: Files, tmp_path: Path) -> None:
    rows = [{**row, "answer": "x"} for row in lines(files["gqa"][1])]
    shutil.copytree(root / "gqa" / "images", tmp_path / "data" / "gqa" / "images")
    path = write_lines(tmp_path / "test.jsonl", rows)

    assert len(read("gqa", tmp_path / "data", files, test=str(path)).examples("test")) == 10


def test_a_question_without_an_answer_anywhere_is_a_fault_by_its_line(root: Path, files: Files, tmp_path: Path) -> None:
    rows = lines(files["okvqa"][1])
    rows[1]["question_id"] = 5
    path = write_lines(tmp_path / "test.jsonl", rows)

    with pytest.raises(DataError, match=rf"{path}:2: the official files have no answer to question 5"):
        read("okvqa", root, files, test=str(path)).examples("test")


def test_a_test_file_is_taken_whole_where_the_official_test_would_be_drawn_from(root: Path, files: Files) -> None:
    assert len(read("ocrvqa", root, files, test_samples=4).examples("test")) == 15
    assert len(read("ocrvqa", root, files, samples=4).examples("train")) == 4


def test_a_line_that_is_no_json_is_a_fault_by_its_line(root: Path, files: Files, tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text(
        files["iconqa"][1]
        .read_text(encoding="utf-8")
        .replace('{"question_id": "1200001"', '{"question_id: "1200001"', 1),
        encoding="utf-8",
    )

    with pytest.raises(DataError, match=rf"{path}:2: it is not JSON"):
        read("iconqa", root, files, test=str(path)).examples("test")


@pytest.mark.parametrize("turns", [[], None, ["hello"], [{"from": "human", "value": "a"}] * 2, 7])
def test_a_conversation_that_is_not_one_question_and_its_answer_is_a_fault(
    root: Path, files: Files, tmp_path: Path, turns: object
) -> None:
    rows = json.loads(files["iconqa"][0].read_text(encoding="utf-8"))
    rows[2]["conversations"] = turns
    path = tmp_path / "train.json"
    path.write_text(json.dumps(rows), encoding="utf-8")

    with pytest.raises(DataError, match=r"record 3, id .*\): its conversations are not one human turn"):
        read("iconqa", root, files, train=str(path)).examples("train")


def test_without_a_training_file_the_official_one_is_trained_on(root: Path, files: Files) -> None:
    assert not read("iconqa", root, files, train="").examples("train")[0].id.startswith("train-")


def test_a_file_that_is_not_there_is_told(root: Path, files: Files) -> None:
    with pytest.raises(DataError, match=r"iconqa: there is no file /none\.jsonl"):
        read("iconqa", root, files, test="/none.jsonl").examples("test")


def test_paths_count_from_the_data_folder(root: Path, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    named = {"train": files["gqa"][0], "test": files["gqa"][1], "images": root / "gqa" / "images"}
    relative = {name: os.path.relpath(path, root) for name, path in named.items()}

    assert read("gqa", root, files, **relative).examples("test") == read("gqa", root, files).examples("test")
    assert len(read("gqa", root, files, **relative).examples("train")) == 20


def test_an_image_may_be_named_from_the_data_folder(root: Path, files: Files, tmp_path: Path) -> None:
    rows = lines(files["okvqa"][1])
    expected = [example.image for example in read("okvqa", root, files).examples("test")]
    path = write_lines(tmp_path / "t.jsonl", [{**row, "image": f"coco/val2014/{row['image']}"} for row in rows])

    assert [example.image for example in read("okvqa", root, files, test=str(path)).examples("test")] == expected


def test_files_that_nobody_would_read_are_refused() -> None:
    with pytest.raises(UsageError, match=r"gqa.train and .test are files in LLaVA's form: --set gqa.source=llava"):
        opened("gqa", Path("nowhere"), test="gqa/test.jsonl")
    with pytest.raises(UsageError, match=r"gqa.source=llava needs --set gqa.train=FILE.json or .test=FILE.jsonl"):
        opened("gqa", Path("nowhere"), source="llava")


def test_a_picture_is_found_under_any_end_of_its_path(root: Path, files: Files) -> None:
    rows = lines(files["iconqa"][1])
    wanted = [example.image for example in read("iconqa", root, files).examples("test")]
    path = write_lines(root / "elsewhere.jsonl", [{**row, "image": f"IconQA/iconqa/{row['image']}"} for row in rows])

    found = read("iconqa", root, files, test=str(path)).examples("test")

    assert [example.image for example in found] == wanted


@pytest.mark.parametrize("image", [".", "/", "..", "a\0b", "x" * 300], ids=["here", "root", "above", "null", "long"])
def test_a_path_that_no_picture_can_have_is_a_broken_record(root: Path, files: Files, image: str) -> None:
    rows = lines(files["gqa"][1])
    path = write_lines(root / "odd.jsonl", [{**rows[0], "image": image}, *rows[1:]])

    with pytest.raises(DataError, match=r"odd.jsonl:1: its image .* is (missing|a folder)"):
        read("gqa", root, files, test=str(path)).examples("test")


@pytest.mark.parametrize("name", ["okvqa", "textvqa"])
@pytest.mark.parametrize("given", [{"answer": "red"}, {"answers": ["red"] * 5}])
def test_fewer_than_ten_answers_are_refused_by_file_and_line(
    root: Path, files: Files, tmp_path: Path, name: str, given: dict[str, Any]
) -> None:
    rows = lines(files[name][1])
    path = write_lines(tmp_path / "test.jsonl", [rows[0], {**rows[1], **given}, *rows[2:]])

    reason = rf"{path}:2: it has \d answers, but VQA accuracy needs 10; {name}@any_answer scores any number"
    with pytest.raises(DataError, match=reason):
        read(name, root, files, test=str(path)).examples("test")


@pytest.mark.parametrize("name", ["okvqa", "textvqa"])
def test_any_number_of_answers_is_scored_by_the_variant_any_answer(
    root: Path, files: Files, tmp_path: Path, name: str
) -> None:
    rows = [{**row, "answers": ["The bus", "a car", "car"]} for row in lines(files[name][1])]
    path = write_lines(tmp_path / "test.jsonl", rows)
    task = read(name, root, files, test=str(path))
    task.variant = "any_answer"

    examples = task.examples("test")[:4]
    scores = task.score(examples, ["bus", "Car.", "train", ""])

    assert examples[0].answers == ("The bus", "a car", "car")
    assert task.metric == "any_answer"
    assert scores[task.metric].tolist() == [1, 1, 0, 0]


def test_ten_answers_of_a_file_are_ordered_as_the_official_ones(root: Path, files: Files, tmp_path: Path) -> None:
    answers = ["", "blue", *["red"] * 7, "blue"]
    rows = [{**row, "answers": answers} for row in lines(files["okvqa"][1])]
    path = write_lines(tmp_path / "test.jsonl", rows)

    first = read("okvqa", root, files, test=str(path)).examples("test")[0]

    assert first.answers == (*["red"] * 7, "blue", "blue", "")


@pytest.mark.parametrize("answer", ["B. red", "B.", "(B) red", "B) red", "B: red", " b ", "B"])
def test_the_letter_of_an_option_is_read_from_each_form(root: Path, files: Files, tmp_path: Path, answer: str) -> None:
    rows = [{**row, "answer": answer} for row in lines(files["iconqa"][1])]
    taught = json.loads(files["iconqa"][0].read_text(encoding="utf-8"))
    for row in taught:
        row["conversations"][1]["value"] = answer
    test, train = write_lines(tmp_path / "test.jsonl", rows), tmp_path / "train.json"
    train.write_text(json.dumps(taught), encoding="utf-8")

    task = read("iconqa", root, files, test=str(test), train=str(train))

    for split in ("test", "train"):
        assert {example.answers for example in task.examples(split)} == {("B",)}  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", ["red", "B red", "2", "BC. red", "Z. zebra"])
def test_an_answer_that_is_no_letter_is_refused_by_file_and_line(
    root: Path, files: Files, tmp_path: Path, answer: str
) -> None:
    rows = lines(files["iconqa"][1])
    path = write_lines(tmp_path / "test.jsonl", [rows[0], {**rows[1], "answer": answer}])

    with pytest.raises(DataError, match=rf"{path}:2: answer '{answer}' is not the letter of an option"):
        read("iconqa", root, files, test=str(path)).examples("test")


def test_a_training_file_without_ids_gets_them_from_its_name_and_the_records(
    root: Path, files: Files, tmp_path: Path
) -> None:
    rows = json.loads(files["gqa"][0].read_text(encoding="utf-8"))
    for row in rows:
        del row["id"]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(rows), encoding="utf-8")

    examples = read("gqa", root, files, train=str(path)).examples("train")

    assert len(examples) == len(rows)
    assert {example.id for example in examples} == {f"train-{number + 1}-mine" for number in range(len(rows))}


def test_files_with_a_byte_order_mark_are_read(root: Path, files: Files, tmp_path: Path) -> None:
    marked = tuple(tmp_path / path.name for path in files["gqa"])
    for path, copy in zip(files["gqa"], marked, strict=True):
        copy.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    task, plain = read("gqa", root, {"gqa": marked}), read("gqa", root, files)  # type: ignore[dict-item]

    assert task.examples("test") == plain.examples("test")
    assert [one.answers for one in task.examples("train")] == [one.answers for one in plain.examples("train")]


def test_a_line_in_another_encoding_is_a_fault_by_its_line(root: Path, files: Files, tmp_path: Path) -> None:
    first, second, *rest = files["gqa"][1].read_bytes().splitlines(keepends=True)
    path = tmp_path / "test.jsonl"
    path.write_bytes(b"".join([first, second.replace(b"?", "é?".encode("latin-1"), 1), *rest]))

    with pytest.raises(DataError, match=rf"{path}:2: it is not UTF-8 text"):
        read("gqa", root, files, test=str(path)).examples("test")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("text", "What is it? \ud83d", r"text holds half of a character \(a lone surrogate\)"),
        ("answer", "red \ud83d", r"answer holds half of a character"),
        ("answer", "<image> red", r"it holds <image>, which marks the place of the picture"),
    ],
)
def test_text_that_no_prompt_can_hold_is_a_fault_by_its_line(
    root: Path, files: Files, tmp_path: Path, field: str, value: str, reason: str
) -> None:
    rows = [{**row, "answer": "red"} for row in lines(files["gqa"][1])]
    path = write_lines(tmp_path / "test.jsonl", [rows[0], {**rows[1], field: value}, *rows[2:]])

    with pytest.raises(DataError, match=rf"{path}:2: {reason}"):
        read("gqa", root, files, test=str(path)).examples("test")


@pytest.mark.parametrize("skip_bad", [0, 99])
def test_a_split_without_a_usable_record_gives_the_first_reasons(
    root: Path, files: Files, tmp_path: Path, skip_bad: int
) -> None:
    rows = [{**row, "image": "nowhere.jpg"} for row in lines(files["gqa"][1])]
    path = write_lines(tmp_path / "test.jsonl", rows)

    reason = (
        rf"gqa: its test split has no usable example. Records read: .*{len(rows)} from {path}. Broken: {len(rows)}. "
        rf"The first reasons: {path}:1: its image .*/images/nowhere.jpg is missing.*; {path}:2: .*; {path}:3: [^;]*$"
    )
    with pytest.raises(DataError, match=reason):
        read("gqa", root, files, test=str(path), skip_bad=skip_bad).examples("test")


def test_a_picture_with_too_many_pixels_is_told(root: Path, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 8)

    with pytest.raises(DataError, match=r"its image .* has 1,920 pixels, and at most 16 are read; put a smaller one"):
        read("gqa", root, files).examples("test")


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda rows: "", "No record was found in {path}."),
        (lambda rows: json.dumps(rows), "{path} is one JSON document; write each of its records on a line of its own"),
        (lambda rows: json.dumps({"data": rows}, indent=1), "{path} is one JSON document"),
    ],
    ids=["nothing", "a list", "a mapping"],
)
def test_a_question_file_of_another_form_is_told(
    root: Path, files: Files, tmp_path: Path, write: Callable[[Any], str], reason: str
) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text(write(lines(files["gqa"][1])), encoding="utf-8")

    with pytest.raises(DataError, match=re.escape(reason.format(path=path))):
        read("gqa", root, files, test=str(path), skip_bad=99).examples("test")


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda rows: json.dumps({"data": rows}), "{path} holds .* where a list of records should be"),
        (lambda rows: "".join(json.dumps(row) + "\n" for row in rows), "{path}:2: more follows the first JSON value"),
        (lambda rows: "[" * 200_000, "{path} cannot be read as JSON: maximum recursion depth"),
        (lambda rows: "[" + "1" * 5_000 + "]", "{path} cannot be read as JSON: Exceeds the limit"),
    ],
    ids=["a mapping", "lines", "deep", "digits"],
)
def test_a_training_file_of_another_form_is_told(
    root: Path, files: Files, tmp_path: Path, write: Callable[[Any], str], reason: str
) -> None:
    path = tmp_path / "train.json"
    path.write_text(write(json.loads(files["gqa"][0].read_text(encoding="utf-8"))), encoding="utf-8")

    with pytest.raises(DataError, match=reason.format(path=path)):
        read("gqa", root, files, train=str(path), skip_bad=99).examples("train")


@pytest.mark.parametrize("image", ["/{}", "/gqa/images/{}", "gqa\\images\\{}", "C:\\gqa\\images\\{}", "../images/{}"])
def test_a_picture_is_found_where_its_path_was_written_on_another_machine(
    root: Path, files: Files, tmp_path: Path, image: str
) -> None:
    rows = lines(files["gqa"][1])
    path = write_lines(tmp_path / "test.jsonl", [{**row, "image": image.format(row["image"])} for row in rows])

    assert len(read("gqa", root, files, test=str(path)).examples("test")) == len(rows)


def test_a_name_with_a_percent_sign_is_a_name(root: Path, files: Files, tmp_path: Path) -> None:
    first, *rest = lines(files["gqa"][1])
    images = Path(shutil.copytree(root / "gqa" / "images", tmp_path / "images"))
    (images / first["image"]).rename(images / "a%20b 100%d{x}.jpg")
    named = {"text": "Which?", "answer": "red"}
    path = write_lines(
        tmp_path / "test.jsonl",
        [
            {**first, "image": "a%20b 100%d{x}.jpg"},
            {**first, **named, "question_id": "9", "image": "%s{y}.jpg"},
            *rest[1:],
        ],
    )

    task = read("gqa", root, files, test=str(path), images=str(images), skip_bad=1)

    assert task.examples("test")[0].image == images / "a%20b 100%d{x}.jpg"
    assert "/%s{y}.jpg is missing (bench data get gqa, or --set gqa.images=FOLDER)" in str(task.faults("test")[0])


def test_a_path_with_a_line_break_is_told_on_one_line(root: Path, files: Files, tmp_path: Path) -> None:
    first, *rest = lines(files["gqa"][1])
    path = write_lines(tmp_path / "test.jsonl", [{**first, "image": first["image"] + "\n"}, *rest])

    (fault,) = read("gqa", root, files, test=str(path), skip_bad=1).faults("test")

    assert r".jpg\n' is missing" in str(fault)
    assert len(str(fault).splitlines()) == 1


def test_the_bytes_of_an_image_in_place_of_its_path_do_not_fill_the_screen(
    root: Path, files: Files, tmp_path: Path
) -> None:
    first, *rest = lines(files["gqa"][1])
    path = write_lines(tmp_path / "test.jsonl", [{**first, "image": "data:image/png;base64," + "A" * 9_000}, *rest])

    (fault,) = read("gqa", root, files, test=str(path), skip_bad=1).faults("test")

    assert fault.place == f"{path}:1"
    assert len(fault.reason) < 400


@pytest.mark.parametrize("line", ["B. ", "B.", "(B)"])
def test_an_empty_option_of_a_prompt_is_a_fault(root: Path, files: Files, tmp_path: Path, line: str) -> None:
    first, *rest = lines(files["iconqa"][1])
    text = f"Which?\nA. red\n{line}\nC. blue"
    path = write_lines(tmp_path / "test.jsonl", [{**first, "text": text}, *rest])

    with pytest.raises(DataError, match=rf"{path}:1: its option B is empty"):
        read("iconqa", root, files, test=str(path)).examples("test")


def test_a_picture_of_more_than_8_bits_is_a_broken_record(root: Path, files: Files, tmp_path: Path) -> None:
    first, *rest = lines(files["gqa"][1])
    Image.new("I;16", (9, 9), 40_000).save(tmp_path / "deep.png")
    path = write_lines(tmp_path / "test.jsonl", [{**first, "image": str(tmp_path / "deep.png")}, *rest])

    with pytest.raises(DataError, match=rf"{path}:1: its image .*deep.png has 16-bit .* save it with 8 bits"):
        read("gqa", root, files, test=str(path)).examples("test")
