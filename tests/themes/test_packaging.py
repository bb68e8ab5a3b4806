import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

import bench

ROOT = Path(__file__).parents[2]


PLUGINS = ("methods", "tasks", "results")


def test_every_room_is_a_package_that_is_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    rooms = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "bench").rglob("__init__.py")}

    assert set(settings["tool"]["setuptools"]["packages"]) == rooms | {f"bench.{folder}" for folder in PLUGINS}


@pytest.mark.slow
def test_the_wheel_holds_one_top_level_package_with_every_file_of_the_engine_and_the_plugins(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)

    names = ZipFile(next(tmp_path.glob("*.whl"))).namelist()

    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == {"bench"}
    listed = subprocess.run(["git", "ls-files", "bench", *PLUGINS], cwd=ROOT, capture_output=True, encoding="utf-8")
    files = [name for name in listed.stdout.splitlines() if not name.endswith("README.md") or "assets" in name]
    wanted = {name if name.startswith("bench/") else f"bench/{name}" for name in files}
    assert {"bench/page/templates/page.js", "bench/assets/micro/model.safetensors"} <= wanted
    assert wanted - set(names) == set()


@pytest.mark.parametrize("folder", ["methods", "tasks", "results"])
def test_a_plugin_folder_cannot_be_imported_under_a_second_name(folder: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    )

    assert done.returncode != 0
    assert f"Import this folder as 'bench.{folder}'" in done.stderr


# What neither a README nor a built-in plugin names, and why a plugin's author has it all the same.
UNNAMED = {
    "BenchError": "the base of the errors, to catch them all",
    "PublishedRow": "what published_rows returns",
    "Reading": "the type of Task.reading",
    "RunFolder": "what read returns",
    "StoreError": "an error that a caller may get",
    "TrialError": "an error that a caller may get",
}


def imported(path: Path) -> set[str]:
    """Return the names that a file imports from the engine's package, wherever it does."""
    lines = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom))
    return {alias.name for node in lines if (node.module or "").split(".")[0] == "bench" for alias in node.names}


def quoted(path: Path) -> set[str]:
    """Return the words that a README has in code."""
    code = re.findall(r"```.*?```|`[^`]+`", path.read_text(encoding="utf-8"), re.DOTALL)
    return {word for part in code for word in re.findall(r"\w+", part)}


def test_the_public_names_are_those_that_the_package_imports_each_once() -> None:
    assert sorted(bench.__all__) == sorted(imported(Path(bench.__file__)))


def test_what_is_loaded_when_first_used_is_what_a_type_checker_sees() -> None:
    tree = ast.parse(Path(bench.__file__).read_text(encoding="utf-8"))
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    lines = [node for node in checked.body if isinstance(node, ast.ImportFrom)]

    assert {str(node.module): tuple(alias.name for alias in node.names) for node in lines} == bench._LAZY


@pytest.mark.slow
def test_every_public_name_is_used_by_a_built_in_plugin_or_told_of_in_a_guide() -> None:
    folders = [ROOT / name for name in ("methods", "tasks", "results")]
    used = set().union(*(imported(path) for folder in folders for path in folder.glob("*.py")))
    told = set().union(*(quoted(path) for path in (ROOT / "docs").glob("add-a*.md")))

    assert set(bench.__all__) - used - told == set(UNNAMED)


def test_every_public_name_can_be_had() -> None:
    assert all(getattr(bench, name) is not None for name in bench.__all__)
