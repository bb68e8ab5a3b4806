from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from bench.errors import DataError, DiskFullError
from bench.prepare.data.fetch import fetch, part_size, size_of

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()

Site = Any


@pytest.fixture
def path(tmp_path: Path, site: Site) -> Path:
    site.files["/a.bin"] = CONTENT
    return tmp_path / "task" / "a.bin"


def ranges(site: Site) -> list[str | None]:
    return [wanted for _, _, wanted in site.asked]


def test_a_file_comes_with_its_size_and_checksum_and_leaves_no_part(site: Site, path: Path) -> None:
    told: list[int] = []

    entry = fetch(f"{site.url}/a.bin", path, (DIGEST, "published"), told.append)

    assert path.read_bytes() == CONTENT
    assert (entry.size, entry.sha256) == (10240, DIGEST)
    assert sum(told) == 10240
    assert list(path.parent.iterdir()) == [path]


def test_a_transfer_cut_off_in_the_middle_goes_on_where_it_broke(site: Site, path: Path) -> None:
    site.cut_after = [3000, 500]
    told: list[int] = []

    fetch(f"{site.url}/a.bin", path, advance=told.append)

    assert path.read_bytes() == CONTENT
    assert ranges(site) == [None, "bytes=3000-", "bytes=3500-"]
    assert sum(told) == 10240


def test_a_server_without_ranges_is_asked_for_the_whole_again(site: Site, path: Path) -> None:
    site.ranges, site.cut_after = False, [3000]
    told: list[int] = []

    fetch(f"{site.url}/a.bin", path, advance=told.append)

    assert path.read_bytes() == CONTENT
    assert sum(told) == 10240


def test_without_a_tag_nothing_tells_that_the_file_is_the_same_and_no_part_is_used(site: Site, path: Path) -> None:
    site.tag, site.cut_after = None, [3000]

    fetch(f"{site.url}/a.bin", path)

    assert path.read_bytes() == CONTENT
    assert ranges(site) == [None, None]


def test_a_part_goes_on_in_another_command(site: Site, path: Path) -> None:
    site.cut_after = [3000, 0, 0, 0, 0]
    with pytest.raises(DataError, match=r"could not be downloaded in 5 tries: .* stopped at 3000 of 10240 bytes"):
        fetch(f"{site.url}/a.bin", path)
    assert part_size(path) == 3000
    assert not path.exists()

    fetch(f"{site.url}/a.bin", path)

    assert path.read_bytes() == CONTENT
    assert ranges(site)[-1] == "bytes=3000-"


def test_a_file_that_changed_between_two_tries_is_not_glued_together(site: Site, path: Path) -> None:
    site.cut_after = [3000, 0, 0, 0, 0]
    with pytest.raises(DataError, match="the transfer stopped at 3000 of 10240 bytes"):
        fetch(f"{site.url}/a.bin", path)
    site.files["/a.bin"], site.tag = CONTENT[::-1], '"2"'

    fetch(f"{site.url}/a.bin", path)

    assert path.read_bytes() == CONTENT[::-1]


def test_a_part_that_is_whole_is_taken(site: Site, path: Path) -> None:
    path.parent.mkdir()
    path.with_name("a.bin.part").write_bytes(CONTENT)
    path.with_name("a.bin.part.tag").write_text('"1"', encoding="utf-8")

    assert fetch(f"{site.url}/a.bin", path).sha256 == DIGEST
    assert path.read_bytes() == CONTENT


def test_a_part_longer_than_the_file_starts_anew(site: Site, path: Path) -> None:
    path.parent.mkdir()
    path.with_name("a.bin.part").write_bytes(CONTENT * 2)
    path.with_name("a.bin.part.tag").write_text('"1"', encoding="utf-8")

    fetch(f"{site.url}/a.bin", path)

    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [503, 429, 408, 500])
def test_a_busy_server_is_asked_again(site: Site, path: Path, status: int) -> None:
    site.refuse = [status, status]

    assert fetch(f"{site.url}/a.bin", path).sha256 == DIGEST
    assert len(site.asked) == 3


def test_a_missing_file_is_an_error_at_once_that_says_where_to_put_it(site: Site, path: Path) -> None:
    with pytest.raises(
        DataError, match=r"/none.bin cannot be downloaded: the server answers 404 Not Found\. Put the file at"
    ):
        fetch(f"{site.url}/none.bin", path)

    assert len(site.asked) == 1


def test_a_server_that_is_not_there_is_an_error_with_the_reason(path: Path, site: Site) -> None:
    with pytest.raises(DataError, match=r"could not be downloaded in 5 tries: .*refused"):
        fetch("http://127.0.0.1:9/a.bin", path)


def test_a_wrong_checksum_throws_the_file_away(site: Site, path: Path) -> None:
    with pytest.raises(DataError, match=rf"has SHA-256 {DIGEST}, not 00 as its owner says\. It was deleted"):
        fetch(f"{site.url}/a.bin", path, ("00", "its owner says"))

    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(("name", "kind"), [("a.zip", "zip"), ("a.json", "json"), ("a.jsonl", "jsonl")])
def test_a_login_page_in_place_of_the_file_is_thrown_away(site: Site, path: Path, name: str, kind: str) -> None:
    site.files["/a.bin"] = b"\n <!doctype html><html>Please sign in</html>"

    with pytest.raises(DataError, match=rf"is not a {kind} file \(it starts with b'<!doctype html>"):
        fetch(f"{site.url}/a.bin", path.with_name(name))

    assert list(path.parent.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="/dev/full")
def test_a_full_disk_is_said_and_not_tried_again(site: Site, path: Path) -> None:
    path.parent.mkdir()
    path.with_name("a.bin.part").symlink_to("/dev/full")

    with pytest.raises(DiskFullError, match=f"The disk is full: {path.parent} has .* free"):
        fetch(f"{site.url}/a.bin", path)

    assert len(site.asked) == 1


def test_the_size_is_the_servers_word_or_none(site: Site, path: Path) -> None:
    assert size_of(f"{site.url}/a.bin") == 10240
    assert size_of(f"{site.url}/none.bin") is None
    assert size_of("http://127.0.0.1:9/a.bin") is None
