import sys
from pathlib import Path
from typing import Any

import pytest

from bench.cli.parser import parse
from bench.errors import UsageError
from bench.store.drafts import drafted, put, replace_file, staged
from bench.store.places import fetched, is_remote, place, remove
from bench.store.reach import check, probe


def test_a_path_and_a_file_url_are_ordinary_paths() -> None:
    assert place("runs") == Path("runs")
    assert place("file:///lab/my%20runs") == Path("/lab/my runs")
    assert not is_remote(place("runs"))
    assert is_remote(place("memory://lab/runs"))


def test_a_home_folder_that_the_shell_did_not_expand_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/lab/me")

    assert place("~/runs") == Path("/lab/me/runs")
    assert (place("./~"), place("~runs")) == (Path("~"), Path("~runs"))
    parsed = parse(["data", "check", "okvqa", "--data=~/x"])
    assert parsed is not None
    assert vars(parsed[1])["data"] == Path("/lab/me/x")


@pytest.mark.parametrize("url", ["file://runs", "file://lab/runs", "file:///lab/a?b", "file:///lab/a#b", "file://"])
def test_a_url_of_this_machine_that_would_be_another_folder_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"is not the URL of a folder\. Give file:///PATH"):
        place(url)


def test_a_name_that_no_folder_can_have_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"cannot be used \(File name too long\)"):
        place("x" * 300)


def test_a_url_without_its_package_or_of_no_known_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="fsspec cannot read nowhere://lab/runs"):
        place("nowhere://lab/runs")
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(UsageError, match=r"retain-bench\[remote\]"):
        place("s3://lab/runs")


def test_a_url_whose_driver_is_missing_is_refused_by_name() -> None:
    pytest.importorskip("fsspec")
    if _has("s3fs"):
        pytest.skip("s3fs is installed")
    with pytest.raises(UsageError, match=r"--output s3://lab/runs cannot be used .*s3fs"):
        check(place("s3://lab/runs"), "--output")


def _has(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def test_what_is_put_is_read_back_and_removed(root: Path) -> None:
    with staged(root):
        pass
    replace_file(root / "a.json", "one")
    replace_file(root / "a.json", "two")

    assert (root / "a.json").read_text(encoding="utf-8") == "two"
    remove(root / "a.json")
    remove(root / "a.json")
    assert not (root / "a.json").is_file()


def test_a_writer_that_dies_in_the_middle_leaves_the_old_file(root: Path) -> None:
    with staged(root):
        pass
    put(root / "a", b"old")

    def write() -> None:
        with drafted(root / "a") as draft:
            draft.write_bytes(b"ne")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()

    assert (root / "a").read_bytes() == b"old"


def test_a_staged_folder_is_put_in_the_order_of_its_names(bucket: Any) -> None:
    with staged(place("bucket://lab/runs/search")) as here:
        for name in ("z.png", "a/b.csv", "m.json"):
            (here / name).parent.mkdir(exist_ok=True)
            (here / name).write_text(name, encoding="utf-8")

    assert bucket.log == [f"put lab/runs/search/{name}" for name in ("a/b.csv", "m.json", "z.png")]


def test_a_folder_and_a_file_are_fetched_as_they_are(root: Path) -> None:
    with staged(root / "deep") as here:
        (here / "inner").mkdir()
        (here / "inner" / "x").write_text("1", encoding="utf-8")
        (here / "y").write_text("2", encoding="utf-8")

    with fetched(root / "deep") as copy:
        found = {
            file.relative_to(copy).as_posix(): file.read_text(encoding="utf-8")
            for file in copy.rglob("*")
            if file.is_file()
        }
    assert found == {"inner/x": "1", "y": "2"}
    with fetched(root / "deep" / "y") as file:
        assert (file.name, file.read_text(encoding="utf-8")) == ("y", "2")


def test_a_store_that_takes_nothing_is_refused(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    probe(place("bucket://lab/runs"), "--output")

    def refused(self: Any, action: str) -> None:
        raise PermissionError("403 Forbidden")

    monkeypatch.setattr(bucket, "_spend", refused)
    with pytest.raises(UsageError, match="403 Forbidden"):
        probe(place("bucket://lab/runs"), "--output")
