"""An object store for tests: flat keys over a local folder, whole objects alone, no folders, no rename, no append."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote
from uuid import uuid4

import pytest
from fsspec import register_implementation
from fsspec.spec import AbstractFileSystem
from upath import UPath
from upath.registry import register_implementation as register_path

from bench.store.places import place


class Killed(BaseException):
    """What ends a process, for all the code inside it can tell."""


class Bucket(AbstractFileSystem):  # type: ignore[misc]
    """Objects by key. ``allowed`` puts and deletions succeed; the next one ends the process instead."""

    protocol = "bucket"
    cachable = False
    folder: ClassVar[Path]
    allowed: ClassVar[int | None] = None
    log: ClassVar[list[str]] = []

    def _object(self, path: str) -> Path:
        return type(self).folder / quote(self._strip_protocol(path), safe="")

    def _spend(self, action: str) -> None:
        kind = type(self)
        if kind.allowed == 0:
            raise Killed
        kind.allowed = None if kind.allowed is None else kind.allowed - 1
        kind.log.append(action)

    def _keys(self) -> list[str]:
        return sorted(unquote(file.name) for file in type(self).folder.iterdir())

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        path = self._strip_protocol(path).rstrip("/")
        found: dict[str, dict[str, Any]] = {}
        for key in self._keys():
            if key == path:
                found[key] = self._file(key)
            elif key.startswith(f"{path}/") or not path:
                rest = key[len(path) :].lstrip("/")
                name = f"{path}/{rest.split('/')[0]}".lstrip("/")
                found[name] = self._file(key) if "/" not in rest else {"name": name, "size": 0, "type": "directory"}
        if not found:
            raise FileNotFoundError(path)
        return list(found.values()) if detail else list(found)

    def _file(self, key: str) -> dict[str, Any]:
        stat = self._object(key).stat()
        return {"name": key, "size": stat.st_size, "type": "file", "mtime": stat.st_mtime}

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        if mode == "rb":
            return io.BytesIO(self._object(path).read_bytes())
        if mode != "wb":
            raise NotImplementedError(f"no {mode} here")
        return _Put(self, path)

    def rm_file(self, path: str) -> None:
        self._spend(f"rm {path}")
        self._object(path).unlink()

    def _rm(self, path: str) -> None:
        self.rm_file(path)

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        raise NotImplementedError("no folders here")

    def mv(self, path1: str, path2: str, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any) -> None:
        raise NotImplementedError("no rename here")


class _Put(io.BytesIO):
    """An object on its way: it is there when it is closed without an error, and not before."""

    def __init__(self, bucket: Bucket, path: str) -> None:
        super().__init__()
        self._bucket, self._path = bucket, path

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self._bucket._spend(f"put {self._path}")
            draft = self._bucket.folder.with_name(uuid4().hex)
            draft.write_bytes(self.getvalue())
            draft.rename(self._bucket._object(self._path))  # whole, as an object store's are
        self.close()


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Bucket]:
    """An empty object store, known as bucket://."""
    register_implementation("bucket", Bucket, clobber=True)
    register_path("bucket", UPath, clobber=True)
    folder = tmp_path / "objects"
    folder.mkdir()
    monkeypatch.setattr(Bucket, "folder", folder, raising=False)
    monkeypatch.setattr(Bucket, "allowed", None)
    monkeypatch.setattr(Bucket, "log", [])
    return Bucket


@pytest.fixture
def memory() -> Iterator[Path]:
    """A run folder in fsspec's memory, empty before and after."""
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem.store.clear()
    yield place("memory://lab/runs")
    MemoryFileSystem.store.clear()


@pytest.fixture(params=["disk", "bucket", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run folder on a disk, in an object store, and in memory."""
    if request.param == "disk":
        return tmp_path / "runs"
    if request.param == "memory":
        folder: Path = request.getfixturevalue("memory")
        return folder
    request.getfixturevalue("bucket")
    return place("bucket://lab/runs")


@pytest.fixture
def kill_at(bucket: type[Bucket], monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Return what lets so many puts and deletions succeed before the process is killed; None lets all."""

    def set_to(count: int | None) -> None:
        monkeypatch.setattr(bucket, "allowed", count)

    return set_to
