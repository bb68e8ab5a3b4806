import io

import pandas as pd
import pytest

from bench.text import csv_text, shareable, text_table


def test_words_go_to_the_left_numbers_to_the_right_and_no_line_ends_in_spaces() -> None:
    rows = [("method", "Avg", "note"), ("lora", "61.25", ""), ("dora", "7", "tied")]

    assert list(text_table(rows, left={0, 2})) == ["method    Avg  note", "lora    61.25", "dora        7  tied"]


def test_a_row_of_one_cell_spans_the_table() -> None:
    rows = [("a", "b"), ("longer than all columns",), ("c", "d")]

    assert list(text_table(rows)) == ["a  b", "longer than all columns", "c  d"]


def test_columns_are_at_least_as_wide_as_asked_for() -> None:
    assert list(text_table([("a", "1", "2")], least=(3, 4), gap=" ")) == ["a      1 2"]


def test_a_table_without_rows_has_no_lines() -> None:
    assert list(text_table([], least=(3,))) == []


@pytest.mark.parametrize("start", list("=+-@\t\n"))
def test_no_text_of_a_csv_and_no_heading_is_a_formula(start: str) -> None:
    frame = pd.DataFrame({f"{start}name": [f'{start}cmd("calc")', "lora", None], "value": [-0.5, 1.0, None]})

    read = pd.read_csv(io.BytesIO(csv_text(frame).encode()))

    assert read[f"'{start}name"].tolist()[:2] == [f'\'{start}cmd("calc")', "lora"]
    assert read["value"].tolist()[:2] == [-0.5, 1.0]
    assert frame.columns[0] == f"{start}name"


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_a_line_end_in_a_text_starts_no_line_of_the_csv(end: str) -> None:
    frame = pd.DataFrame({"name": [f"lora{end}=cmd()"], "value": [1.0]})

    read = pd.read_csv(io.BytesIO(csv_text(frame).encode()))

    assert read.to_numpy().tolist() == [["lora\n=cmd()", 1.0]]


def test_a_csv_rounds_numbers_only_if_it_is_told_to() -> None:
    frame = pd.DataFrame({"value": [1 / 3], "mixed": pd.Series([-2], dtype=object)})

    assert csv_text(frame) == "value,mixed\n0.3333333333333333,-2\n"
    assert csv_text(frame, "%.2g") == "value,mixed\n0.33,-2\n"


@pytest.mark.parametrize(
    ("private", "shown"),
    [
        ("sqlite:////home/ann/x.db", "sqlite://…"),
        ("file:///home/ann/x", "file://…"),
        ("PYTHONPATH=/a/b:/home/ann/lib", "PYTHONPATH=…/b:…/lib"),
        ("/home/ann/(x)/y", "…/y"),
        ("root@host:/home/ann/x", "…"),
        ("https://ann:p@ss@hub.org/x", "https://hub.org/x"),
        ("postgresql://ann:pa/ss@db:5432/bench", "postgresql://…"),
        ("s3://AKIA:sec@bucket/a?token=9", "s3://bucket/a"),
        ("http://10.0.0.3:5000/x", "http://…/x"),
        ("http://tracker:5000", "http://…"),
        ("--address 10.0.0.3:6379 --address=auto", "--address … --address=auto"),
        ("~/runs and ~ann/runs", "…/runs and …/runs"),
        ("(/a/b.txt), '/tmp/my runs/x' at /x/y.py:12", "(…/b.txt), '…/x' at …/y.py:12"),
    ],
)
def test_no_private_place_is_shared(private: str, shown: str) -> None:
    assert shareable(private) == shown


@pytest.mark.parametrize(
    "text", ["and/or 3/4", "Source / Target", "</b>", "runs/x ../y ./z", "a/b 'c/d'", "torch 2.13.0+cpu", "iconqa@lmms"]
)
def test_other_texts_are_shared_as_they_are(text: str) -> None:
    assert shareable(text) == text
