"""A copy of the tree runs uninstalled: pyproject.toml alone says where its plugins are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.perf.gpu.uninstalled import Tree, TreeFinder

ROOT = Path(__file__).parents[2]
FOLDERS = ("bench", "methods", "tasks", "results", "tests")
SIX = ("torch", "transformers", "peft", "safetensors", "numpy", "pillow")


def test_a_tree_names_what_an_installation_names() -> None:
    """So that a plugin is registered in pyproject.toml alone."""
    tree = Tree(ROOT)

    def plugins(entries: Any) -> set[tuple[str, str, str]]:
        return {(item.group, item.name, item.value) for item in entries if item.group.startswith("bench.")}

    installed = distribution("retain-bench")
    assert plugins(tree.entry_points) == plugins(installed.entry_points) != set()
    assert (tree.name, tree.version) == (installed.name, installed.version)
    assert set(tree.folders) == {"bench.methods", "bench.tasks", "bench.results"}


def test_the_finder_finds_plugins_in_their_folders_and_nothing_else() -> None:
    finder = TreeFinder(Tree(ROOT))

    spec = finder.find_spec("bench.methods", None)
    assert spec is not None
    assert spec.origin == str(ROOT / "methods" / "__init__.py")
    assert finder.find_spec("bench.methods.lora", spec.submodule_search_locations) is None
    assert finder.find_spec("bench", None) is None
    context = TreeFinder.Context
    assert [found.name for found in finder.find_distributions(context(name="retain_bench"))] == ["retain-bench"]
    assert list(finder.find_distributions(context(name="torch"))) == []


@pytest.mark.slow
def test_it_runs_uninstalled_with_six_libraries_alone(tmp_path: Path) -> None:
    tree, libraries = _copied(tmp_path / "tree"), _six(tmp_path / "libraries")
    environment = {**os.environ, "PYTHONPATH": str(libraries)}
    python = [sys.executable, "-S"]  # without the folders of installed packages

    alone = subprocess.run([*python, "-c", _ALONE], cwd=tree, env=environment, check=False)
    assert alone.returncode == 0
    words = ["--tiny", "--minutes", "1000", "--items", "lora,answers,edit,4bit", "--output", "out.json"]
    ended = subprocess.run(
        [*python, "-m", "tests.perf.gpu", *words],
        cwd=tree,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads((tree / "out.json").read_text(encoding="utf-8"))
    ends = {item["item"]: item["status"] for item in found["items"]}
    assert ends == {"lora": "done", "answers": "done", "edit": "done", "4bit": "library missing"}
    assert (found["facts"]["retain-bench"], found["facts"]["commit"]) == (Tree(ROOT).version, "unknown")
    assert "answers, shared" in ended.stdout


# Fails if one of the six is missing, if the project is installed, or if another of its libraries is there.
_ALONE = """
import importlib.util, sys
from importlib.metadata import entry_points
import numpy, peft, PIL, safetensors, torch, transformers
others = ("ray", "mlflow", "pandas", "optuna", "scipy", "sklearn", "matplotlib", "pyarrow", "bitsandbytes", "pytest")
seen = [name for name in others if importlib.util.find_spec(name)]
sys.exit(f"{seen}" if seen or entry_points(group="bench.methods") or "site" in sys.modules else 0)
"""


def _copied(tree: Path) -> Path:
    """Return a plain copy of the tree: no version control, nothing installed."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


def _six(folder: Path) -> Path:
    """Return a folder with links to the six libraries and to what they need themselves, and to nothing else."""
    folder.mkdir()
    for item in _needed(SIX):
        for top in {Path(str(path)).parts[0] for path in item.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(item.locate_file(top))))
    return folder


def _needed(names: tuple[str, ...]) -> Iterator[Distribution]:
    """Yield the installed packages with these names, and all that they need."""
    left, seen = list(names), set[str]()
    while left:
        name = re.sub("[-_.]+", "-", left.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        found = distribution(name)
        yield found
        wanted = map(Requirement, found.requires or ())
        left += [item.name for item in wanted if item.marker is None or item.marker.evaluate({"extra": ""})]
