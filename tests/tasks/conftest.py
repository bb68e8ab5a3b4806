"""The six real data sets in their official layouts, small: to be read, and a copy to be spoilt."""

import shutil
from pathlib import Path

import pytest

from tests.layouts import NAMES, Sizes, write_files


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in NAMES:
        write_files(folder, name, Sizes(12, 4, 6))
    return folder


@pytest.fixture
def copied(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "data"))
