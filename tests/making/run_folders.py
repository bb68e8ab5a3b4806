"""Run folders that earlier versions wrote."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

THEMES = Path(__file__).parents[1] / "themes"


def unpacked(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of a pinned run folder, without most weights, as ./runs."""
    with tarfile.open(THEMES / folder / "runs.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"
