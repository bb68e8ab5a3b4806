"""The official files of each data set, in their own names and folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .pictures import Picture, Sizes, pictures

QUESTION = "What color is the picture?"
LETTERS = "ABCDE"


def write_files(root: Path, name: str, sizes: Sizes | None = None) -> Path:
    """Write one data set under the data folder ``root`` and return the task's own folder."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    _WRITERS[name](root, folder, sizes or Sizes())
    return folder


def dump(path: Path, content: object) -> None:
    """Write a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def edit(path: Path, change: Callable[[Any], None], indent: int | None = None) -> None:
    """Change the content of a JSON file in place."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content, indent=indent), encoding="utf-8")


def choices(picture: Picture) -> tuple[list[str], int]:
    """Return two to five options of which one is right, and its place."""
    count = 2 + picture.number % 4
    place = picture.number // 7 % count
    options = list(picture.others[: count - 1])
    return [*options[:place], picture.color, *options[place:]], place


def coco_name(part: str, picture: Picture) -> str:
    """Return the name of COCO's file of a picture."""
    return f"COCO_{part}_{picture.number:012d}.jpg"


def _iconqa(root: Path, folder: Path, sizes: Sizes) -> None:
    problems: dict[str, Any] = {}
    splits: dict[str, list[str]] = {}
    for split, part in (("train", "train"), ("validation", "val"), ("test", "test")):
        for kind in ("choose_txt", "fill_in_blank"):
            splits[f"{kind}_{part}"] = []
        for picture in pictures("iconqa", split, sizes):
            pid = str(picture.number)
            options, place = choices(picture)
            facts = {"question": QUESTION, "ques_type": "choose_txt", "grade": "grade1", "label": "S2"}
            problems[pid] = {**facts, "choices": options, "answer": place, "split": part}
            splits[f"choose_txt_{part}"].append(pid)
            home = folder / "iconqa_data" / "iconqa" / part / "choose_txt" / pid
            picture.write(home / "image.png", "PNG")
            dump(home / "data.json", problems[pid])
        blank = f"9{len(problems)}"  # of another kind: no task may read it
        problems[blank] = {"question": QUESTION, "ques_type": "fill_in_blank", "answer": "3", "split": part}
        splits[f"fill_in_blank_{part}"].append(blank)
    dump(folder / "iconqa_data" / "problems.json", problems)
    dump(folder / "iconqa_data" / "pid_splits.json", splits)


def _coco_caption(root: Path, folder: Path, sizes: Sizes) -> None:
    rows: list[dict[str, Any]] = []
    for split, part, name in (
        ("train", "train2014", "train"),
        ("validation", "val2014", "val"),
        ("test", "val2014", "test"),
    ):
        images, annotations = [], []
        for picture in pictures("coco_caption", split, sizes):
            file = coco_name(part, picture)
            picture.write(root / "coco" / part / file)
            images.append({"id": picture.number, "file_name": file, "height": 40, "width": 48, "license": 1})
            said = [
                {"raw": text, "tokens": text.lower().split(), "sentid": 10 * picture.number + n}
                for n, text in enumerate(picture.captions())
            ]
            annotations += [{"image_id": picture.number, "id": s["sentid"], "caption": s["raw"]} for s in said]
            rows.append(
                {"filepath": part, "filename": file, "split": name, "cocoid": picture.number, "sentences": said}
            )
        if split != "validation":  # the official file of val2014 is not read: Karpathy's has its captions
            dump(folder / "annotations" / f"captions_{part}.json", {"images": images, "annotations": annotations})
    dump(folder / "dataset_coco.json", {"images": rows, "dataset": "coco"})


def _okvqa(root: Path, folder: Path, sizes: Sizes) -> None:
    for splits, part in ((("train", "validation"), "train2014"), (("test",), "val2014")):
        questions, annotations = [], []
        for picture in (each for split in splits for each in pictures("okvqa", split, sizes)):
            picture.write(root / "coco" / part / coco_name(part, picture))
            for number in range(1 + picture.number % 2):
                name = picture.number * 10 + number
                text = QUESTION if number == 0 else "Which color would this paint have?"
                questions.append({"image_id": picture.number, "question": text, "question_id": name})
                answers = [
                    {"answer_id": n + 1, "raw_answer": f"{answer}s", "answer_confidence": "yes", "answer": answer}
                    for n, answer in enumerate(picture.ten_answers())
                ]
                annotations.append({"image_id": picture.number, "question_id": name, "answers": answers})
        dump(folder / f"OpenEnded_mscoco_{part}_questions.json", {"info": {}, "questions": questions})
        dump(folder / f"mscoco_{part}_annotations.json", {"info": {}, "annotations": annotations})


def cover(picture: Picture) -> dict[str, Any]:
    """Return a book cover's questions and answers."""
    return {
        "questions": ["What is the title of this book?", "Is this book gray?", "What type of book is this?"],
        "answers": [f"{picture.color} & {picture.others[0]}", "Yes" if picture.color == "gray" else "No", "Arts"],
        "title": picture.color,
        "authorName": "",
        "genre": "Arts",
    }


def _ocrvqa(root: Path, folder: Path, sizes: Sizes) -> None:
    covers = {}
    for split, number in (("train", 1), ("validation", 2), ("test", 3)):
        for picture in pictures("ocrvqa", split, sizes):
            picture.write(folder / "images" / f"{picture.number}.jpg")
            address = f"http://images.example/{picture.number}.jpg"
            covers[str(picture.number)] = {"imageURL": address, **cover(picture), "split": number}
    dump(folder / "dataset.json", covers)


def graph_questions(task: str, split: str, sizes: Sizes) -> Iterator[tuple[str, Picture, Mapping[str, Any]]]:
    """Yield GQA's question ids, pictures and records: two per image."""
    for picture in pictures(task, split, sizes):
        for number, text in enumerate((QUESTION, f"Is the picture {picture.color} or {picture.others[0]}?")):
            record = {"question": text, "imageId": f"n{picture.number}", "answer": picture.color, "isBalanced": True}
            yield f"{picture.number}{number}", picture, {**record, "fullAnswer": f"It is {picture.color}."}


def _gqa(root: Path, folder: Path, sizes: Sizes) -> None:
    for split, part in (("train", "train"), ("validation", "val"), ("test", "testdev")):
        questions = {}
        for name, picture, record in graph_questions("gqa", split, sizes):
            picture.write(folder / "images" / f"n{picture.number}.jpg")
            questions[name] = record
        dump(folder / "questions1.2" / f"{part}_balanced_questions.json", questions)


def text_question(picture: Picture, number: int) -> dict[str, Any]:
    """Return one of TextVQA's questions, with its answers."""
    text = "What word is written here?" if number == 0 else "what color is this sign?"
    return {
        "question_id": picture.number * 10 + number,
        "image_id": f"{picture.number:016x}",
        "question": text,
        "question_tokens": text.lower().rstrip("?").split(),
        "image_width": 48,
        "image_height": 40,
        "answers": picture.ten_answers(),
    }


def ocr_tokens(picture: Picture) -> list[str]:
    """Return what Rosetta read in a picture."""
    return [picture.color.upper(), picture.others[0]]


def _textvqa(root: Path, folder: Path, sizes: Sizes) -> None:
    for splits, part in ((("train", "validation"), "train"), (("test",), "val")):
        questions, tokens = [], []
        for picture in (each for split in splits for each in pictures("textvqa", split, sizes)):
            picture.write(folder / "train_images" / f"{picture.number:016x}.jpg")
            questions += [{**text_question(picture, number), "set_name": part} for number in range(2)]
            tokens.append({"image_id": f"{picture.number:016x}", "ocr_tokens": ocr_tokens(picture), "ocr_info": []})
        dump(folder / f"TextVQA_0.5.1_{part}.json", {"dataset_type": part, "data": questions})
        dump(folder / f"TextVQA_Rosetta_OCR_v0.2_{part}.json", {"dataset_type": part, "data": tokens})


_WRITERS: Mapping[str, Callable[[Path, Path, Sizes], None]] = {
    "iconqa": _iconqa,
    "coco_caption": _coco_caption,
    "okvqa": _okvqa,
    "ocrvqa": _ocrvqa,
    "gqa": _gqa,
    "textvqa": _textvqa,
}
