from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import pytest

from bench import Download
from bench.prepare.data.fetch import fetch
from bench.prepare.data.pictures import fetch_all
from bench.prepare.data.retries import asked_pause

Site = Any


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, each over at once."""
    made: list[float] = []
    monkeypatch.setattr("bench.prepare.data.retries.time.sleep", made.append)
    return made


def test_a_file_is_retried_after_as_long_as_its_server_asks(site: Site, tmp_path: Path, pauses: list[float]) -> None:
    site.files, site.refuse, site.retry_after = {"/a.bin": b"whole"}, [503, 429], "7"

    fetch(f"{site.url}/a.bin", tmp_path / "a.bin")

    assert pauses == [7.0, 7.0]
    assert (tmp_path / "a.bin").read_bytes() == b"whole"


def test_a_picture_is_retried_after_as_long_as_its_server_asks(site: Site, tmp_path: Path, pauses: list[float]) -> None:
    site.refuse, site.retry_after = [503, 503, 503], "7"

    tally = fetch_all(tmp_path, [Download(f"{site.url}/a", "ocrvqa/images/a.jpg")])

    assert pauses == [7.0, 7.0]
    assert tally.failed == {"ocrvqa/images/a.jpg": "the server answers 503 Service Unavailable"}


def test_a_server_that_asks_for_nothing_is_asked_after_a_pause_that_doubles(
    site: Site, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.prepare.data.fetch._PAUSE_SECONDS", 1.0)
    site.files, site.refuse = {"/a.bin": b"whole"}, [500, 500, 500]

    fetch(f"{site.url}/a.bin", tmp_path / "a.bin")

    assert pauses == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), ("86400", 300.0), ("soon", 0.0), ("-1", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("", 0.0)],
)
def test_a_pause_is_a_number_or_a_date_of_at_most_five_minutes(text: str, seconds: float) -> None:
    headers = HTTPMessage()
    headers["Retry-After"] = text

    assert asked_pause(headers) == seconds


def test_a_date_far_away_asks_for_the_longest_pause() -> None:
    headers = HTTPMessage()
    headers["Retry-After"] = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)

    assert asked_pause(headers) == 300.0
