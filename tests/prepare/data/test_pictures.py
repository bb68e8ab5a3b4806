from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench import Download
from bench.errors import DataError
from bench.prepare.data import pictures
from bench.prepare.data.pictures import dead, fetch_all, missing

Site = Any


def drawn(side: int = 8, form: str = "JPEG") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (side, side), "red").save(buffer, form)
    return buffer.getvalue()


def of(site: Site, *names: str) -> list[Download]:
    return [Download(f"{site.url}/{name}", f"ocrvqa/images/{name}.jpg") for name in names]


def test_pictures_come_and_the_dead_are_written_down_with_the_reason(site: Site, tmp_path: Path) -> None:
    site.files = {"/a": drawn(), "/b": drawn(form="GIF"), "/page": b"<html>", "/pixel": drawn(1, "GIF")}

    tally = fetch_all(tmp_path, of(site, "a", "b", "page", "pixel", "none"))

    assert (tally.came, tally.failed) == (2, {})
    assert (tmp_path / "ocrvqa/images/b.jpg").read_bytes() == site.files["/b"]
    reasons = {Path(name).stem: reason for name, reason in dead(tmp_path / "ocrvqa").items()}
    assert reasons["none"] == "the server answers 404 Not Found"
    assert reasons["pixel"] == "it is a single pixel"
    assert reasons["page"].startswith("it is not an image")
    assert len(reasons) == 3


def test_only_what_is_neither_there_nor_gone_is_asked_for_again(site: Site, tmp_path: Path) -> None:
    site.files = {"/a": drawn()}
    wanted = of(site, "a", "none")
    fetch_all(tmp_path, wanted)

    assert missing(tmp_path, [*wanted, *of(site, "c")]) == of(site, "c")


def test_a_picture_that_comes_half_or_late_is_tried_again(site: Site, tmp_path: Path) -> None:
    site.files, site.cut_after, site.refuse = {"/a": drawn()}, [10], [503]

    assert fetch_all(tmp_path, of(site, "a")).came == 1
    assert (tmp_path / "ocrvqa/images/a.jpg").read_bytes() == drawn()


def test_a_busy_server_makes_no_picture_dead(site: Site, tmp_path: Path) -> None:
    site.files, site.refuse = {"/a": drawn()}, [503, 503, 503]
    wanted = of(site, "a")

    tally = fetch_all(tmp_path, wanted)

    assert tally.failed == {"ocrvqa/images/a.jpg": "the server answers 503 Service Unavailable"}
    assert missing(tmp_path, wanted) == wanted


def test_a_network_that_is_down_ends_it(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_GIVE_UP", 20)
    wanted = [Download("http://127.0.0.1:9/x", f"ocrvqa/images/{n}.jpg") for n in range(1000)]

    with pytest.raises(DataError, match=r"20 images in a row could not .*The last reason: .*refused.*Try again later"):
        fetch_all(tmp_path, wanted)

    assert not (tmp_path / "ocrvqa").exists()


@pytest.mark.slow
def test_the_dead_are_kept_when_it_is_interrupted(site: Site, tmp_path: Path) -> None:
    def stop(count: int) -> None:
        if len(site.asked) >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_all(tmp_path, of(site, *(f"none{n}" for n in range(300))), stop)

    assert len(site.asked) < 300
    assert 1 <= len(dead(tmp_path / "ocrvqa")) < 300


def test_an_unreadable_list_of_the_dead_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "dead.json").write_text("{", encoding="utf-8")

    with pytest.raises(DataError, match=r"dead\.json cannot be read: .* Delete it"):
        dead(tmp_path)
    (tmp_path / "dead.json").write_text(json.dumps({"a": "b"}), encoding="utf-8")
    assert dead(tmp_path) == {"a": "b"}
