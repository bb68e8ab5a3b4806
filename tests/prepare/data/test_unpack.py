from __future__ import annotations

import stat
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import pytest

from bench.errors import DataError
from bench.prepare.data.unpack import unpack


def pack(path: Path, files: dict[str, str]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_files_come_out_in_the_folder_of_the_zip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pack(tmp_path / "coco" / "a.zip", {"val/": "", "val/1.jpg": "one", "val/deep/2.jpg": "three"})

    assert unpack(path, "coco/a.zip") == {"val/1.jpg": 3, "val/deep/2.jpg": 5}
    assert names(path.parent) == {"a.zip", "val/1.jpg", "val/deep/2.jpg"}
    assert capsys.readouterr().err == "unpack coco/a.zip (8 B) …\n"


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "val/../../evil", "..\\evil", "C:/evil"])
def test_a_name_that_leads_out_refuses_the_whole(tmp_path: Path, name: str) -> None:
    path = pack(tmp_path / "coco" / "a.zip", {"good": "one", name: "two"})

    with pytest.raises(DataError, match=r"leads out of its folder\. Nothing was unpacked"):
        unpack(path, path.name)

    assert names(tmp_path) == {"coco/a.zip"}


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc")

    with pytest.raises(DataError, match="'link', which leads out"):
        unpack(tmp_path / "a.zip", "a.zip")


def test_a_damaged_byte_is_found_and_the_file_it_was_in_is_not_there(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"1": "one", "2": "two-two"})
    path.write_bytes(path.read_bytes().replace(b"two-two", b"two-twO"))

    with pytest.raises(DataError, match=r"a\.zip cannot be unpacked: Bad CRC-32 for file '2'"):
        unpack(path, path.name)

    assert not (tmp_path / "2").exists()


def test_what_is_there_whole_is_left_alone_and_what_is_half_is_not(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"1": "one", "2": "two"})
    (tmp_path / "1").write_text("own", encoding="utf-8")
    (tmp_path / "2").write_text("tw", encoding="utf-8")

    unpack(path, path.name)

    assert ((tmp_path / "1").read_text(encoding="utf-8"), (tmp_path / "2").read_text(encoding="utf-8")) == (
        "own",
        "two",
    )


def test_what_does_not_fit_on_the_disk_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(tmp_path / "a.zip", {"1": "one"})
    monkeypatch.setattr("bench.prepare.data.unpack._KEEP_FREE", 1 << 60)

    with pytest.raises(DataError, match=r"needs 0\.0 GB unpacked, but .* has only \d+\.\d GB free\. Make room"):
        unpack(path, path.name)

    assert names(tmp_path) == {"a.zip"}
