"""Load a data set from the hub or from a folder of parquet files, and store its images as files."""

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
    """One split of one configuration of a data set.

    ``address`` is the id of the data set on the hub, or a folder. ``into`` is the folder that keeps what is loaded.
    """

    address: str
    revision: str
    config: str | None
    split: str
    into: Path

    @property
    def file(self) -> Path:
        """The file of rows, one per line, in the folder of the revision, which also holds the images."""
        local = Path(self.address)
        revision = _version_of(local) if local.is_dir() else self.revision
        return self.into / revision / f"{self.config or 'default'}-{self.split}.jsonl"


def hub_rows(wanted: HubRows, intake: Intake) -> list[Row]:
    """Return the rows, with the path of a file in each image column.

    The paths are relative to the folder of the rows' file.

    Raises:
        DataError: the package datasets is not installed, or cannot load the rows.
    """
    if not wanted.file.is_file():
        _write(wanted, intake.task)
    return list(line_rows(intake.file(wanted.file)))


def _write(wanted: HubRows, task: str) -> None:
    """Write the images, then the rows' file in one atomic step, so no process reads half a file."""
    folder = wanted.file.parent
    (folder / "images").mkdir(parents=True, exist_ok=True)
    draft = wanted.file.with_name(f"{wanted.file.name}.{os.getpid()}.part")
    with draft.open("w", encoding="utf-8") as file, TemporaryDirectory(dir=folder) as cache:
        for row in _loaded(wanted, task, cache):
            plain = {name: _as_file(value, folder) for name, value in row.items()}
            file.write(json.dumps(plain, ensure_ascii=False, default=str) + "\n")
    draft.replace(wanted.file)


def _loaded(wanted: HubRows, task: str, cache: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows.

    A folder gets its own cache, because the package datasets treats folders of the same name as one data set.
    """
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
    """Write an image to a file named by its digest and return the path; return other values unchanged.

    An image that has neither bytes nor a file stays as it is, too.
    """
    if not (isinstance(value, dict) and set(value) == {"bytes", "path"}):
        return value
    if value["bytes"] is None and not Path(value["path"] or "").is_file():
        return value  # the reader of the row finds no text there, and says so with its line
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
    """Return a digest of the names, sizes and times of a folder's files, as the revision of the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = [f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return f"local-{hashlib.sha256(chr(10).join([str(folder.resolve()), *facts]).encode()).hexdigest()[:16]}"
