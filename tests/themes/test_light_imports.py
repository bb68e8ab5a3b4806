"""The modules that plan, list, rank and mirror load no torch when they are imported, and neither do the listings.

A command that resolves a method (``bench leaderboard``, ``compare``, ``plan``, ``run --dry-run``) loads torch with it.
"""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import bench

LOADED = (
    "heavy = {'torch', 'ray', 'transformers', 'peft'} & set(sys.modules); sys.exit(f'loaded {heavy}' if heavy else 0)"
)
ROOMS = ("plan", "plugins", "leaderboard", "sequences", "track")


def modules(room: str) -> list[str]:
    """Return every module of a room."""
    folder = Path(str(bench.__file__)).parent / room
    return [f"bench.{room}", *(f"bench.{room}.{module.name}" for module in pkgutil.iter_modules([str(folder)]))]


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own that fails if it has loaded something heavy."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\n{LOADED}"], capture_output=True, encoding="utf-8", check=False
    )


@pytest.mark.parametrize("room", ROOMS)
def test_importing_a_whole_room_loads_no_torch(room: str) -> None:
    names = modules(room)
    assert len(names) > 3

    done = run("\n".join(f"import {name}" for name in names))

    assert done.returncode == 0, done.stderr


def test_the_check_finds_a_module_that_loads_torch() -> None:
    done = run("import torch")

    assert done.returncode == 1
    assert "torch" in done.stderr


@pytest.mark.parametrize("words", [["ls", "tasks"], ["ls", "suites"], ["leaderboard", "--help"], ["run", "--help"]])
def test_listings_load_no_torch(words: list[str]) -> None:
    done = run(
        f"from bench.cli.main import main\ntry:\n    code = main({words!r})\nexcept SystemExit as end:\n"
        "    code = end.code\nassert code == 0, code"
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout
