"""The modules that plan, list, rank and mirror load no torch when they are imported, and neither do the listings.

A command that resolves a method (``bench compare``, ``plan``, ``run --dry-run``) loads torch with it. A leaderboard
that was shown before resolves none.
"""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from bench.cli.options import Cells
from bench.cli.request import read_request
from bench.cli.which_run import new_run, with_trials
from bench.plan.baselines import make
from bench.store.run_folder import Store
from bench.store.runs import save_run
from tests.making.records import write_scores

pytestmark = pytest.mark.slow

LOADED = (
    "heavy = {'torch', 'ray', 'transformers', 'peft'} & set(sys.modules); sys.exit(f'loaded {heavy}' if heavy else 0)"
)
ROOMS = ("plan", "plugins", "leaderboard", "sequences", "track")


def modules(room: str) -> list[str]:
    """Return every module of a room."""
    folder = Path(str(bench.__file__)).parent / room
    return [f"bench.{room}", *(f"bench.{room}.{module.name}" for module in pkgutil.iter_modules([str(folder)]))]


def run(code: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own that fails if it has loaded something heavy."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\n{LOADED}"],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=environment,
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


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A run folder whose leaderboard was shown before, and the environment with its cache."""
    folder = tmp_path_factory.mktemp("light")
    (store := Store(folder / "runs")).prepare()
    cells = Cells(methods="lora,dare", ranks="16", targets="icon_choice", limit="8")
    made = make(read_request(cells, store.root), store)
    for job in made.jobs:
        store.folder(job.trial).mkdir()
        write_scores(store, job.trial, job.asked)
    save_run(store, with_trials(new_run("run", "bench run", cells), made))
    environment = {**os.environ, "BENCH_CACHE": str(folder / "cache")}
    subprocess.run([sys.executable, "-c", of_words(["leaderboard"], store.root)], env=environment, check=True)
    return store.root, environment


def of_words(words: list[str], output: Path) -> str:
    """Return code that runs a command on a run folder, with an engine that counts as installed long ago."""
    return (
        "from bench.plugins import installed_code\ninstalled_code._SETTLED_SECONDS = float('-inf')\n"
        f"from bench.cli.main import main\nassert main({[*words, '--output', str(output)]!r}) == 0"
    )


@pytest.mark.parametrize(
    "words", [["leaderboard"], ["leaderboard", "--format", "json"], ["ls", "trials"], ["ls", "runs"], ["show", "dare"]]
)
def test_a_finished_run_is_read_without_torch(words: list[str], shown: tuple[Path, dict[str, str]]) -> None:
    output, environment = shown

    done = run(of_words(words, output), environment)

    assert done.returncode == 0, done.stderr
    assert "icon_choice" in done.stdout


@pytest.mark.parametrize("words", [["ls", "tasks"], ["ls", "suites"], ["leaderboard", "--help"], ["run", "--help"]])
def test_listings_load_no_torch(words: list[str]) -> None:
    done = run(
        f"from bench.cli.main import main\ntry:\n    code = main({words!r})\nexcept SystemExit as end:\n"
        "    code = end.code\nassert code == 0, code"
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout
