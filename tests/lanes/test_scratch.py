import stat
import tempfile
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.lanes import scratch
from bench.lanes.cluster import devices

LONG = "x" * 90


@pytest.fixture(params=[LONG, "a b", "\u00fc", "a?b"])
def temporary(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files in which Ray cannot work."""
    folder = tmp_path / str(request.param)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_folder_for_rays_sockets_is_short_and_private(temporary: Path) -> None:
    folder = scratch.make_scratch()
    try:
        assert len(f"{folder}/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store") <= 107
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        folder.rmdir()


def test_no_place_for_rays_sockets_is_one_line(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_OTHERS", ("/none",))

    with pytest.raises(UsageError, match=r"Ray cannot use the temporary folder .*/none .*Set TMPDIR"):
        scratch.make_scratch()


@pytest.mark.ray
def test_a_private_ray_starts_although_the_temporary_folder_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / LONG).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    with devices(1, None, tmp_path, 1) as found:
        assert found.scratch.is_dir()

    assert not found.scratch.exists()
    assert not list(folder.iterdir())
