from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from bench.cli.main import main
from bench.prepare.data import get as fetching

Site = Any

TASKS = '''
"""Tasks whose data are on a site."""
from bench import Card, Download, Task

URL = "{url}"

class Old(Task):
    """What was there before."""
    name = "old"
    paper = "none"
    primary = "exact"
    card = Card("home", "CC0", (
        Download(URL + "/val.zip", "coco/val.zip", 10, unpacks_to="coco/val", unpacked=10),
        Download(URL + "/old.json", "old/old.json", 10),
    ))
    def examples(self, split):
        return []
    def score(self, examples, predictions):
        return {{}}

class New(Old):
    """What comes."""
    name = "new"
    card = Card("home", "CC0", (
        Download(URL + "/val.zip", "coco/val.zip", 10, unpacks_to="coco/val", unpacked=10),
        Download("https://example.org/drive", "new/index.json", by_hand=True),
    ))
    def pictures(self):
        return [Download(URL + path, "new/images" + path) for path in ("/1.jpg", "/2.jpg")]

class Bare(Old):
    """Comes with its package."""
    name = "bare"
    card = None
'''


def packed(**files: str) -> bytes:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"val/{name}.jpg", text)
    return buffer.getvalue()


@pytest.fixture
def get(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return ``get(tasks, *words)``, the command on a folder of its own; it fetches old.json and val.zip."""
    monkeypatch.setattr(fetching, "KEEP_FREE", 0)
    plugin = tmp_path / "old_and_new.py"
    plugin.write_text(TASKS.format(url=site.url), encoding="utf-8")
    site.files = {"/val.zip": packed(a="one", b="three"), "/old.json": b'{"a": 1}'}

    def command(tasks: str, *words: str) -> int:
        site.asked.clear()
        return main(["data", "get", tasks, "--plugin", str(plugin), "--data", str(tmp_path / "data"), *words])

    return command


def fetched(site: Site) -> list[str]:
    return [path for method, path, _ in site.asked if method == "GET"]


def test_files_come_are_unpacked_and_noted_and_a_second_time_nothing_is_fetched(
    get: Any, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"

    assert get("old", "--yes") == 0

    assert (root / "coco/val/b.jpg").read_text(encoding="utf-8") == "three"
    assert not (root / "coco/val.zip").exists()
    noted = json.loads((root / "old/checksums.json").read_text(encoding="utf-8"))
    assert noted["old/old.json"]["sha256"] == hashlib.sha256(b'{"a": 1}').hexdigest()
    assert json.loads((root / "coco/val.zip.files.json").read_text(encoding="utf-8")) == {
        "val/a.jpg": 3,
        "val/b.jpg": 5,
    }
    printed = capsys.readouterr()
    zipped = len(site.files["/val.zip"])
    assert f"download coco/val.zip ({zipped} B)  {site.url}/val.zip" in printed.out
    assert f"{zipped + 8} B to download; this takes up to {2 * zipped + 8} B of the " in printed.out

    assert get("old") == 0  # nothing to ask for
    assert site.asked == []
    assert "present  coco/val\n  present  old/old.json\n" in capsys.readouterr().out


def test_pictures_shared_by_tasks_come_once_and_what_is_left_for_hands_is_named(
    get: Any, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert get("old,new", "--yes") == 1  # index.json is missing

    assert sorted(fetched(site)) == ["/1.jpg", "/2.jpg", "/old.json", "/val.zip"]
    printed = capsys.readouterr()
    assert "  by hand  new/index.json: put it there from https://example.org/drive\n" in printed.out
    assert "new: 0 images downloaded, 2 no longer exist, 0 failed." in printed.err
    assert "Some files are missing. Run the same command again to resume." in printed.err


def test_what_is_missing_broken_or_half_unpacked_is_fetched_again_and_nothing_else(
    get: Any, site: Site, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    get("old", "--yes")

    (root / "old/old.json").write_text('{"a": 2}', encoding="utf-8")
    assert get("old", "--yes") == 0
    assert fetched(site) == ["/old.json"]

    (root / "coco/val/a.jpg").unlink()
    assert get("old", "--yes") == 0
    assert fetched(site) == ["/val.zip"]
    assert (root / "coco/val/a.jpg").read_text(encoding="utf-8") == "one"


def test_a_zip_that_was_not_unpacked_to_the_end_is_not_fetched_again(get: Any, site: Site, tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "coco/val").mkdir(parents=True)
    (root / "coco/val/a.jpg").write_text("one", encoding="utf-8")
    (root / "coco/val.zip").write_bytes(site.files["/val.zip"])
    note = {
        "url": "",
        "size": len(site.files["/val.zip"]),
        "sha256": hashlib.sha256(site.files["/val.zip"]).hexdigest(),
    }
    (root / "coco/checksums.json").write_text(json.dumps({"coco/val.zip": note}), encoding="utf-8")

    assert get("old", "--yes") == 0

    assert fetched(site) == ["/old.json"]
    assert (root / "coco/val/b.jpg").read_text(encoding="utf-8") == "three"


def test_what_was_put_there_by_hand_is_taken(get: Any, site: Site, tmp_path: Path) -> None:
    (tmp_path / "data/coco/val").mkdir(parents=True)
    (tmp_path / "data/old").mkdir()
    (tmp_path / "data/old/old.json").write_text("{}", encoding="utf-8")

    assert get("old") == 0
    assert site.asked == []


def test_a_zip_that_was_put_there_by_hand_is_unpacked_and_kept(
    get: Any, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "data/coco/val.zip"
    path.parent.mkdir(parents=True)
    path.write_bytes(packed(a="one"))

    assert get("old", "--yes") == 0
    assert get("old", "--yes") == 0

    assert "  unpack   coco/val.zip (" in capsys.readouterr().out
    assert (tmp_path / "data/coco/val/a.jpg").read_text(encoding="utf-8") == "one"
    assert path.is_file()
    assert site.asked == []


def test_a_zip_put_there_by_hand_that_is_not_whole_is_fetched(get: Any, site: Site, tmp_path: Path) -> None:
    path = tmp_path / "data/coco/val.zip"
    path.parent.mkdir(parents=True)
    path.write_bytes(packed(a="one")[:-30])

    assert get("old", "--yes") == 0
    assert fetched(site) == ["/val.zip", "/old.json"]
    assert (tmp_path / "data/coco/val/b.jpg").read_text(encoding="utf-8") == "three"


def test_a_file_that_changes_at_its_address_is_refused_and_the_rest_still_comes(
    get: Any, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    get("old", "--yes")
    (root / "old/old.json").unlink()
    (root / "coco/val/a.jpg").unlink()
    site.files["/val.zip"] = packed(a="ONE", b="three")

    assert get("old", "--yes") == 1

    assert (root / "old/old.json").is_file()
    said = capsys.readouterr().err
    assert f"as noted in {root}/coco/checksums.json (delete that line to accept the new file)" in said


def test_a_zip_without_what_it_is_fetched_for_is_an_error(
    get: Any, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.files["/val.zip"] = packed(a="one").replace(b"val/", b"vol/")

    assert get("old", "--yes") == 1
    assert "coco/val.zip does not contain val. Delete it and download it again." in capsys.readouterr().err


def test_what_does_not_fit_is_refused_before_anything_is_fetched(
    get: Any, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetching, "free_bytes", lambda root: 400)

    assert get("old", "--yes") == 2

    assert fetched(site) == []
    assert "of the 400 B free in" in capsys.readouterr().err


def test_nothing_is_fetched_without_a_yes(get: Any, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda question: "no")

    assert get("old") == 1
    assert fetched(site) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["olt"], "No task named 'olt'. Did you mean 'old'?"),
        ([","], "TASK,… is empty; give names separated by commas, or all."),
        (["bare"], "bare needs no download. Its data come with its package."),
        (["old", "--set", "old.source=hub"], "The task old has no options. Drop --set old.…"),
        (["old", "--set", "nothing.source=hub"], "No task named 'nothing'."),
    ],
)
def test_a_mistake_is_one_line_and_nothing_starts(
    get: Any, site: Site, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert get(*words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert site.asked == []


def test_a_place_outside_the_folder_of_data_is_refused(get: Any, site: Site, tmp_path: Path) -> None:
    plugin = tmp_path / "old_and_new.py"
    plugin.write_text(
        plugin.read_text(encoding="utf-8").replace('"old/old.json"', '"old/../../old.json"'), encoding="utf-8"
    )

    assert get("old", "--yes") == 1
    assert site.asked == []


def test_a_folder_that_cannot_be_written_to_is_named(
    get: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert get("old", "--yes", "--data", str(tmp_path / "file")) == 2
    assert "Cannot write to --data" in capsys.readouterr().err
