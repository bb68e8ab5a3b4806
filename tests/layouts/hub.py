"""The same data sets as parquet files with a card, in the columns that the hub's have."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .official import QUESTION, choices, coco_name, cover, graph_questions, ocr_tokens, text_question
from .pictures import Picture, Sizes, pictures

Rows = list[dict[str, Any]]


def write_hub(folder: Path, name: str, sizes: Sizes | None = None) -> Path:
    """Write one data set as the hub has it, with the splits that it has there, and return the folder."""
    tables = _TABLES[name](sizes or Sizes())
    configs: dict[str, list[dict[str, str]]] = {}
    for (config, split), rows in tables.items():
        path = folder / config / f"{split}-00000-of-00001.parquet"
        _write(path, rows)
        configs.setdefault(config, []).append({"split": split, "path": str(path.relative_to(folder))})
    card = {"configs": [{"config_name": config, "data_files": files} for config, files in configs.items()]}
    (folder / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n", encoding="utf-8")  # JSON is YAML
    return folder


def _write(path: Path, rows: Rows) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.Table.from_pylist(rows)
    images = [column for column in table.column_names if column in ("image", "query_image")]
    features = {column: {"_type": "Image"} if column in images else _feature(rows[0][column]) for column in rows[0]}
    info = json.dumps({"info": {"features": features}})
    pyarrow.parquet.write_table(table.replace_schema_metadata({"huggingface": info}), path)


def _feature(value: object) -> dict[str, Any]:
    if isinstance(value, list):
        return {"_type": "List", "feature": _feature(value[0])}
    kind = {bool: "bool", int: "int64", float: "float64", str: "string"}[type(value)]
    return {"_type": "Value", "dtype": kind}


def _image(picture: Picture, name: str, kind: str = "JPEG") -> dict[str, Any]:
    return {"bytes": picture.bytes(kind), "path": name}


def _iconqa(sizes: Sizes) -> dict[tuple[str, str], Rows]:
    tables: dict[tuple[str, str], Rows] = {}
    for split, part in (("validation", "val"), ("test", "test")):
        rows: Rows = []
        for picture in pictures("iconqa", split, sizes):
            options, place = choices(picture)
            facts = {"question_id": str(picture.number), "question": QUESTION, "ques_type": "choose_txt"}
            answer = {"choices": ",".join(options), "answer": options[place]}
            rows.append({**facts, **answer, "query_image": _image(picture, "image.png", "PNG")})
        rows.append({**rows[-1], "question_id": "9", "ques_type": "fill_in_blank", "choices": "", "answer": "3"})
        tables["default", part] = rows
    return tables


def _coco_caption(sizes: Sizes) -> dict[tuple[str, str], Rows]:
    rows: Rows = []
    for picture in (each for split in ("validation", "test") for each in pictures("coco_caption", split, sizes)):
        name = coco_name("val2014", picture)
        rows.append(
            {"question_id": name, "id": len(rows), "answer": picture.captions(), "image": _image(picture, name)}
        )
    return {("default", "val"): rows}


def _okvqa(sizes: Sizes) -> dict[tuple[str, str], Rows]:
    rows = [
        {
            "question_id": str(picture.number * 10 + number),
            "question": QUESTION if number == 0 else "Which color would this paint have?",
            "answers": picture.ten_answers(),
            "image": _image(picture, coco_name("val2014", picture)),
        }
        for picture in pictures("okvqa", "test", sizes)
        for number in range(1 + picture.number % 2)
    ]
    return {("default", "val2014"): rows}


def _ocrvqa(sizes: Sizes) -> dict[tuple[str, str], Rows]:
    return {
        ("default", split): [
            {"image": _image(picture, f"{picture.number}.jpg"), "image_id": str(picture.number), **cover(picture)}
            for picture in pictures("ocrvqa", split, sizes)
        ]
        for split in ("train", "validation", "test")
    }


def _gqa(sizes: Sizes) -> dict[tuple[str, str], Rows]:
    tables: dict[tuple[str, str], Rows] = {}
    for split, part in (("train", "train"), ("validation", "val"), ("test", "testdev")):
        questions = graph_questions("gqa", split, sizes)
        tables[f"{part}_balanced_instructions", part] = [{"id": name, **record} for name, _, record in questions]
        tables[f"{part}_balanced_images", part] = [
            {"id": f"n{picture.number}", "image": _image(picture, f"n{picture.number}.jpg")}
            for picture in pictures("gqa", split, sizes)
        ]
    return tables


def _textvqa(sizes: Sizes) -> dict[tuple[str, str], Rows]:
    return {
        ("default", part): [
            {
                **text_question(picture, number),
                "ocr_tokens": ocr_tokens(picture),
                "image": _image(picture, f"{picture.number:016x}.jpg"),
            }
            for split in splits
            for picture in pictures("textvqa", split, sizes)
            for number in range(2)
        ]
        for splits, part in ((("train", "validation"), "train"), (("test",), "validation"))
    }


_TABLES: Mapping[str, Callable[[Sizes], dict[tuple[str, str], Rows]]] = {
    "iconqa": _iconqa,
    "coco_caption": _coco_caption,
    "okvqa": _okvqa,
    "ocrvqa": _ocrvqa,
    "gqa": _gqa,
    "textvqa": _textvqa,
}
