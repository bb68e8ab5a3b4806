"""``make run`` says first if its Python cannot be used, and leaves no environment behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A Python that says that it has another version, or lacks a module.
OTHER = """#!/bin/sh
[ "$1" = -c ] && exit 0
exec {python} -c '
import sys
sys.argv = sys.argv[1:]
{change}
exec(sys.stdin.read())' "$@"
"""
OLD = "sys.version_info = (3, 10, 13)"
BARE = 'sys.modules["ensurepip"] = None'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what make reads before it installs anything."""
    (folder := tmp_path / "checkout").mkdir()
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def python(path: Path, change: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OTHER.format(python=sys.executable, change=change), encoding="utf-8")
    path.chmod(0o755)
    return path


def made(checkout: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(["make", "python", *words], cwd=checkout, capture_output=True, encoding="utf-8", check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("change", "words"), [(OLD, "is too old (3.10.13). Install Python 3.11"), (BARE, "has no module ensurepip.")]
)
def test_a_python_that_cannot_be_used_is_refused_before_an_environment_is_made(
    change: str, words: str, checkout: Path, tmp_path: Path
) -> None:
    code, said = made(checkout, f"PYTHON={python(tmp_path / 'python', change)}")

    assert code == 2
    assert words in said
    assert not (checkout / ".venv").exists()


def test_a_missing_python_is_named(checkout: Path) -> None:
    code, said = made(checkout, "PYTHON=/nowhere/python3")

    assert code == 2
    assert "make: /nowhere/python3 is not found. Install Python 3.11 or newer" in said


def test_an_environment_of_an_older_python_is_named_with_the_way_out(checkout: Path) -> None:
    python(checkout / ".venv" / "bin" / "python", OLD)

    code, said = made(checkout, f"PYTHON={sys.executable}")

    assert code == 2
    assert "The Python in .venv is too old (3.10.13). Run make clean" in said


def test_an_environment_without_a_python_that_starts_is_named(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to("/nowhere/python")

    assert "The Python in .venv does not start. Run make clean" in made(checkout)[1]


def test_an_environment_of_a_moved_folder_is_named(checkout: Path) -> None:
    (bin_ := checkout / ".venv" / "bin").mkdir(parents=True)
    (bin_ / "python").symlink_to(sys.executable)
    (bin_ / "bench").write_text("#!/before/.venv/bin/python\n", encoding="utf-8")

    assert ".venv was made in another folder" in made(checkout)[1]

    (bin_ / "bench").write_text(f"#!{bin_}/python\n", encoding="utf-8")
    assert made(checkout) == (0, "")


def test_an_environment_that_works_is_kept_whatever_python3_is(checkout: Path, tmp_path: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)

    assert made(checkout, f"PYTHON={python(tmp_path / 'python', OLD)}") == (0, "")


def test_a_python_that_can_be_used_passes(checkout: Path) -> None:
    assert made(checkout, f"PYTHON={sys.executable}") == (0, "")
