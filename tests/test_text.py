import getpass
import io
import socket

import pandas as pd
import pytest

from bench.text import csv_text, shareable, shareable_reason, text_table


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
        ("in /home/ann. '/home/ann', /Users/ann/", "in ~. '~', ~/"),
        ("/home/bob lee/x is gone", "…/x is gone"),
        ("/lustre/home/bob and '/nfs/users/bob'", "… and '…'"),
        ("'/'", "'…/'"),
        ("https://ann:secret@tracker.corp.internal:5000/x", "https://…/x"),
        ("HTTP://10.0.0.3/x", "HTTP://…/x"),
    ],
)
def test_no_private_place_is_shared(private: str, shown: str) -> None:
    assert shareable(private) == shown


@pytest.fixture
def ann(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whose home folder is in no usual place and has a space, on a host of a university."""
    monkeypatch.setenv("HOME", "/nfs/people/ann lee")
    monkeypatch.setattr(getpass, "getuser", lambda: "ann7")
    monkeypatch.setattr(socket, "gethostname", lambda: "node-12.uni.edu")


def test_the_home_folder_of_the_user_is_not_shared_wherever_it_is(ann: None) -> None:
    assert shareable("no /nfs/people/ann lee/x, /nfs/people/ann lee") == "no …/x, ~"
    assert shareable("/nfs/people/ann leeds /scratch/ann7") == "…/ann leeds …"


@pytest.mark.parametrize(
    ("private", "shown"),
    [
        ("lost 10.0.0.3:6379 (ip=192.168.1.20), of gpu-17:6379", "lost … (ip=…), of …"),
        ("no route to fe80::1ff:fe23:4567:890a or ::1", "no route to … or …"),
        ("ann7 on node-12 and node-12.uni.edu", "… on … and …"),
        ('server at "db" (10.1.2.3): no user "bob"', "server at … (…): no user …"),
        ("HTTPConnectionPool(host='tracker', port=50)", "HTTPConnectionPool(host=…, port=50)"),
        ("host=db user=bob password='a b' dbname=x", "host=… user=… password=… dbname=x"),
        ("a.b.local is not x.internal:80", "… is not …"),
        ("postgresql://bob:secret@db:5432/x", "postgresql://…"),
    ],
)
def test_no_machine_or_user_that_an_error_names_is_shared(private: str, shown: str, ann: None) -> None:
    assert shareable_reason(private) == shown


@pytest.mark.parametrize(
    "text",
    [
        "mine.py:1300 in on_update: RuntimeError: shapes 1:2 on cuda:0 at 12:30:45",
        "torch::Tensor c10::Error std::bad_alloc, torch 2.13.0, CUDA 12.1.105",
        "pad_token=3 user_id=4 annual host",
        "No module named 'sklearn.cluster'; 'threading.local' object has no attribute 'x'",
        "core_worker.cc:2894: lost; batch_size:4096",
    ],
)
def test_what_an_error_says_stays(text: str, ann: None) -> None:
    assert shareable_reason(text) == text


def test_a_command_keeps_a_word_that_is_also_the_user(ann: None) -> None:
    assert shareable("bench run --methods ann7 --output '/nfs/people/ann lee/runs'") == (
        "bench run --methods ann7 --output '…/runs'"
    )


def test_an_account_that_many_machines_have_is_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "ray")

    assert shareable_reason("ray.exceptions.RayTaskError") == "ray.exceptions.RayTaskError"


@pytest.mark.parametrize(
    "text", ["and/or 3/4", "Source / Target", "</b>", "runs/x ../y ./z", "a/b 'c/d'", "torch 2.13.0+cpu", "iconqa@lmms"]
)
def test_other_texts_are_shared_as_they_are(text: str) -> None:
    assert shareable(text) == text
