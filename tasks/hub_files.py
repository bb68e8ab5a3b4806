"""Rows of a data set on the hub, or in a folder of parquet files, written out once so that images are files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import DataError

from .intake import Intake
from .rows import Row, line_rows

_KINDS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"RIFF": ".webp"}


@dataclass(frozen=True, slots=True)
class HubRows:
    """One split of one configuration of a data set; ``address`` is its id, or a folder; ``into`` keeps what is read."""

    address: str
    revision: str
    config: str | None
    split: str
    into: Path

    @property
    def file(self) -> Path:
        """The file of rows, one a line, under the revision; beside it lie the images."""
        local = Path(self.address)
        revision = _version_of(local) if local.is_dir() else self.revision
        return self.into / revision / f"{self.config or 'default'}-{self.split}.jsonl"


def hub_rows(wanted: HubRows, intake: Intake) -> list[Row]:
    """Return the rows; each image column holds the path of a file, relative to the folder of the rows' file.

    Raises:
        DataError: datasets is not installed, or cannot load them.
    """
    if not wanted.file.is_file():
        _write(wanted, intake.task)
    return list(line_rows(intake.file(wanted.file)))


def _write(wanted: HubRows, task: str) -> None:
    """Write images, then the rows' file in one atomic step: another process sees all of it or none."""
    folder = wanted.file.parent
    (folder / "images").mkdir(parents=True, exist_ok=True)
    draft = wanted.file.with_name(f"{wanted.file.name}.{os.getpid()}.part")
    with draft.open("w", encoding="utf-8") as file, TemporaryDirectory(dir=folder) as cache:
        for row in _loaded(wanted, task, cache):
            plain = {name: _as_file(value, folder) for name, value in row.items()}
            file.write(json.dumps(plain, ensure_ascii=False, default=str) + "\n")
    draft.replace(wanted.file)


def _loaded(wanted: HubRows, task: str, cache: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows; of a folder through a cache of its own: datasets takes folders of one name for one data set."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"{task}: source=hub needs the package datasets: pip install 'retain-bench[hub]', or use source=files."
        ) from error
    where = {"cache_dir": cache} if Path(wanted.address).is_dir() else {"revision": wanted.revision}
    try:
        loaded = datasets.load_dataset(wanted.address, wanted.config, split=wanted.split, **where)
    except Exception as error:
        raise DataError(
            f"{task}: {wanted.address}@{wanted.revision} ({wanted.config or 'default'}, {wanted.split}) cannot be "
            f"loaded: {type(error).__name__}: {str(error).partition(chr(10))[0].rstrip('. ')}. "
            f"Check the network, or set {task}.hub to another id@revision or to a folder that holds it."
        ) from error
    for name, feature in loaded.features.items():
        if isinstance(feature, datasets.Image):
            loaded = loaded.cast_column(name, datasets.Image(decode=False))
    yield from loaded


def _as_file(value: object, folder: Path) -> object:
    """Return the path of an image's file, written by its content's digest; anything else as it is."""
    if not (isinstance(value, dict) and set(value) == {"bytes", "path"}):
        return value
    content = value["bytes"] if value["bytes"] is not None else Path(value["path"]).read_bytes()
    kind = next((end for start, end in _KINDS.items() if content.startswith(start)), ".img")
    relative = Path("images") / f"{hashlib.sha256(content).hexdigest()[:32]}{kind}"
    path = folder / relative
    if not path.is_file():
        draft = path.with_name(f"{path.name}.{os.getpid()}.part")
        draft.write_bytes(content)
        draft.replace(path)
    return str(relative)


def _version_of(folder: Path) -> str:
    """Return a digest of a folder's files by name, size and time: a changed folder is another revision."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = [f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return f"local-{hashlib.sha256(chr(10).join([str(folder.resolve()), *facts]).encode()).hexdigest()[:16]}"
