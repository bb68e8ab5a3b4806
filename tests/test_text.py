import pytest

from bench.text import shareable, text_table


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
