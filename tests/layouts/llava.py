"""The same data sets as LLaVA's files: a JSON of conversations, a JSONL of questions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .official import LETTERS, QUESTION, choices, coco_name, cover, dump, graph_questions, ocr_tokens, text_question
from .pictures import Picture, Sizes, pictures

SUFFIX = "Answer the question using a single word or phrase."
CAPTION = "Describe the image in one sentence."  # none of the task's own prompts: it must come through verbatim


def write_llava(folder: Path, name: str, sizes: Sizes | None = None) -> tuple[Path, Path]:
    """Write the training JSON and the question JSONL of a data set whose official files are there; return both."""
    sizes = sizes or Sizes()
    train, test = folder / f"{name}-train.json", folder / f"{name}-test.jsonl"
    dump(train, [_conversation(row) for row in _rows(name, "train", sizes)])
    lines = [{key: value for key, value in row.items() if key != "taught"} for row in _rows(name, "test", sizes)]
    test.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return train, test


def _conversation(row: dict[str, Any]) -> dict[str, Any]:
    turns = [{"from": "human", "value": f"<image>\n{row['text']}"}, {"from": "gpt", "value": row["taught"]}]
    return {"id": row.get("question_id", row.get("id")), "image": row["image"], "conversations": turns}


def _rows(name: str, split: str, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Yield question_id or id, image, text, and the answer that is ``taught``; ``answer`` where LLaVA's file has it."""
    if name == "gqa":
        for key, picture, record in graph_questions("gqa", split, sizes):
            image, text = f"n{picture.number}.jpg", f"{record['question']}\n{SUFFIX}"
            yield {"question_id": key, "image": image, "text": text, "taught": picture.color}
        return
    for picture in pictures(name, split, sizes):
        yield from _of_picture(name, split, picture)


def _of_picture(name: str, split: str, picture: Picture) -> Iterator[dict[str, Any]]:
    part = "train2014" if split == "train" else "val2014"
    if name == "iconqa":
        options, place = choices(picture)
        lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
        image = f"{split}/choose_txt/{picture.number}/image.png"
        row = {"question_id": str(picture.number), "image": image, "text": "\n".join([QUESTION, *lines])}
        yield {**row, "answer": LETTERS[place], "taught": LETTERS[place]}
    elif name == "coco_caption":
        image = coco_name(part, picture)
        yield {"id": picture.number, "image": image, "text": CAPTION, "taught": picture.captions()[0]}
    elif name == "okvqa":
        row = {"image": coco_name(part, picture), "text": f"{QUESTION}\n{SUFFIX}", "taught": picture.color}
        yield {"question_id": picture.number * 10, **row}
    elif name == "ocrvqa":
        book = cover(picture)
        for question, answer in zip(book["questions"], book["answers"], strict=True):
            image = f"ocr_vqa/images/{picture.number}.jpg"
            yield {"question_id": picture.number, "image": image, "text": f"{question}\n{SUFFIX}", "taught": answer}
    else:
        for number in range(2):
            asked = text_question(picture, number)
            text = f"{asked['question']}\nReference OCR token: {', '.join(ocr_tokens(picture))}\n{SUFFIX}"
            image = f"{asked['image_id']}.jpg"
            yield {"question_id": asked["image_id"], "image": image, "text": text, "taught": picture.color}
