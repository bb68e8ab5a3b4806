from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from bench import Example, file_digests
from bench.file_digests import of_files
from bench.plan.fingerprint import of_examples, of_image
from tests.making.waiting import PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, that takes files in as soon as they are written."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_digests, "_SETTLED_NS", -1_000_000_000)
    return tmp_path / "cache" / file_digests.FILE


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def sha(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def rows(cache: Path) -> dict[str, bytes]:
    with sqlite3.connect(cache) as connection:
        found = connection.execute("SELECT path, digest FROM digests").fetchall()
    connection.close()
    return {Path(os.fsdecode(path)).name: digest for path, digest in found}


def test_a_digest_is_the_sha_256_of_the_bytes_cold_and_warm(tmp_path: Path, cache: Path) -> None:
    paths = [write(tmp_path / name, name * 3) for name in ("a", "b")]

    cold, warm = of_files([*paths, paths[0]]), of_files(paths)

    assert cold == warm == {paths[0]: sha("aaa"), paths[1]: sha("bbb")}
    assert rows(cache) == {"a": sha("aaa"), "b": sha("bbb")}


def test_a_name_that_is_no_text_is_a_name(tmp_path: Path, cache: Path) -> None:
    path = write(tmp_path / os.fsdecode(b"caf\xe9"), "one")

    assert of_files([path]) == of_files([path]) == {path: sha("one")}
    assert len(rows(cache)) == 1


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a", "one")
    of_files([path])
    monkeypatch.setattr(file_digests, "_read", lambda paths: pytest.fail(f"reads {paths}"))

    assert of_files([path]) == {path: sha("one")}


def test_a_change_of_equal_size_with_the_old_time_put_back_is_seen(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "one")
    of_files([path])
    before = path.stat()

    write(path, "two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert of_files([path])[path] == sha("two")


def test_another_file_moved_to_the_same_path_is_seen(tmp_path: Path) -> None:
    path = write(tmp_path / "a", "one")
    other = write(tmp_path / "b", "two")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    of_files([path])

    other.replace(path)

    assert of_files([path])[path] == sha("two")


def test_a_file_that_has_just_changed_is_not_kept(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digests, "_SETTLED_NS", 2_000_000_000)

    of_files([write(tmp_path / "a", "one")])

    assert rows(cache) == {}


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a", "one")

    def read(paths: list[Path]) -> dict[Path, bytes]:
        write(path, "longer")
        return {path: sha("one")}

    monkeypatch.setattr(file_digests, "_read", read)

    of_files([path])

    assert rows(cache) == {}


@pytest.mark.parametrize("damage", ["garbage", "folder", "no folder"])
def test_a_cache_that_cannot_be_used_only_costs_time(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    cache.parent.mkdir()
    if damage == "garbage":
        cache.write_bytes(b"not a database at all" * 400)
    elif damage == "folder":
        cache.mkdir()
    else:
        monkeypatch.setenv("BENCH_CACHE", str(write(tmp_path / "file", "") / "cache"))

    assert of_files([write(tmp_path / "a", "one")]) == {tmp_path / "a": sha("one")}


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        of_files([tmp_path / "none"])


@pytest.mark.slow
def test_processes_that_write_at_once_all_succeed(tmp_path: Path, cache: Path) -> None:
    paths = [write(tmp_path / f"{n}.txt", str(n)) for n in range(40)]
    code = (
        "import sys; from pathlib import Path; from bench import file_digests as f; f._SETTLED_NS = -10**9;"
        "[f.of_files([p]) for p in sorted(Path(sys.argv[1]).glob('*.txt'))]"
    )

    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]

    assert [process.wait(PATIENCE_SECONDS) for process in running] == [0, 0, 0]
    assert rows(cache) == {path.name: sha(path.read_text(encoding="utf-8")) for path in paths}


def test_examples_have_the_digest_they_had_without_a_cache(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", "a picture")
    drawn = Image.new("RGB", (2, 2), "blue")
    examples = [Example("1", "q", ("a",), path), Example("2", "q", ("b",), drawn), Example("3", "q", ("c",), path)]

    cold, warm = of_examples(examples, ["q"] * 3), of_examples(examples, ["q"] * 3)

    assert of_image(examples[0]) == hashlib.sha256(path.read_bytes()).digest()
    assert cold == warm == "b89559ac9ddd72a5"  # as before there was a cache


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert file_digests.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("BENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert file_digests.cache_folder() == tmp_path / "retain-bench"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert file_digests.cache_folder() == Path.home() / ".cache" / "retain-bench"
