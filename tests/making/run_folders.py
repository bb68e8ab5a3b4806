"""Run folders that earlier versions wrote."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

THEMES = Path(__file__).parents[1] / "themes"


def unpacked(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of a pinned run folder, most of whose weights are empty files, as ./runs."""
    with tarfile.open(THEMES / folder / "runs.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    for config in tmp_path.rglob("snapshots/*/adapter_config.json"):
        config.with_name("adapter_model.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"
