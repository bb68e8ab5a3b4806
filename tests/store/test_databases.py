import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from bench.store.databases import database_file, database_url


@pytest.mark.parametrize("name", ["plain", "a b?c%20d#e {x} \u00fc", 'o\'brien+"1";&=@:', "x?mode=ro"])
def test_an_address_leads_to_its_file_whatever_the_path_is(name: str, tmp_path: Path) -> None:
    (folder := tmp_path / name).mkdir()
    url = database_url(folder / "search.db")

    with create_engine(url).begin() as connection:
        connection.execute(text("CREATE TABLE made (x)"))

    with closing(sqlite3.connect(folder / "search.db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("made",)]
    assert database_file(url) == folder / "search.db"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true", "postgresql://h/x", "http://h"]
)
def test_another_address_has_no_file(url: str) -> None:
    assert database_file(url) is None


def test_the_options_of_an_address_are_not_part_of_its_file() -> None:
    assert database_file("sqlite:///runs/search.db?timeout=60") == Path("runs/search.db")
