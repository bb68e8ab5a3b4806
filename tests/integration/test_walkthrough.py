"""The examples of the guides for plugin authors, executed as written, outside the repository."""

import os
import shlex
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

from bench.cli.main import main
from tests.making.guides import blocks, page


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def bench(folder: Path, line: str) -> Ran:
    """Run a command line that starts with bench, as a user in ``folder`` would, but without a process of its own."""
    words = shlex.split(line)
    assert words[0] == "bench"
    out, err = StringIO(), StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(err):
        code = main(words[1:])
    return Ran(code, out.getvalue(), err.getvalue())


def installed_bench(folder: Path, line: str, site: Path) -> Ran:
    """Run a command line in a process of its own, which finds the packages in ``site``."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("bench")), *shlex.split(line)[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=900,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def follow(folder: Path, page: str, file: str, commands: str, *, more: str = "") -> list[Ran]:
    """Save a file of a page, and run the commands of one of its blocks; ``more`` is added to those that train."""
    parts = blocks(page)
    (folder / file).write_text(parts[file], encoding="utf-8")
    lines = [line.removeprefix("$ ") for line in parts[commands].splitlines()]
    return [bench(folder, line if line.startswith("bench check") else f"{line} {more}") for line in lines]


def has_row(run: Ran, name: str) -> bool:
    """Return whether a table that was printed has a row of a method."""
    return any(line.strip().startswith(name) for line in run.stdout.splitlines())


@pytest.mark.slow
@pytest.mark.usefixtures("runs")
def test_the_method_of_the_guide_is_checked_and_reaches_a_leaderboard_row(tmp_path: Path) -> None:
    done = follow(tmp_path, "docs/add-a-method.md", "bench_proximal.py", "try", more="--lanes 0")

    assert [run.returncode for run in done] == [0, 0], done[-1].stderr
    assert has_row(done[-1], "proximal")


@pytest.mark.slow
def test_the_edit_of_the_guide_is_checked_and_reaches_a_leaderboard_row(tmp_path: Path) -> None:
    done = follow(tmp_path, "docs/add-an-edit.md", "bench_truncated.py", "try", more="--lanes 0")

    assert [run.returncode for run in done] == [0, 0], done[-1].stderr
    assert has_row(done[-1], "truncated")


@pytest.mark.slow
@pytest.mark.usefixtures("runs")
def test_the_sequence_method_of_the_guide_is_checked_and_reaches_a_row(tmp_path: Path) -> None:
    done = follow(tmp_path, "docs/add-a-sequence-method.md", "bench_anchored.py", "try", more="--lanes 0")

    assert [run.returncode for run in done] == [0, 0], done[-1].stderr
    assert has_row(done[-1], "anchored")


@pytest.mark.slow
def test_the_idea_of_the_guide_is_checked_and_reaches_a_row(tmp_path: Path) -> None:
    few = "--lanes 0 --set recipe.updates=10 --sources easy_vqa"
    checked = follow(tmp_path, "docs/from-idea-to-table.md", "bench_freeze.py", "check")
    ran = follow(tmp_path, "docs/from-idea-to-table.md", "bench_freeze.py", "try", more=few)

    assert checked[0].returncode == 0, checked[0].stdout
    assert checked[0].stdout.splitlines()[-1] in page("docs/from-idea-to-table.md")
    assert ran[0].returncode == 0, ran[0].stderr
    assert has_row(ran[0], "freeze_b")


@pytest.mark.slow
def test_the_method_of_the_front_page_keeps_the_rules(tmp_path: Path) -> None:
    (tmp_path / "proximal.py").write_text(blocks("README.md")["python"], encoding="utf-8")

    checked = bench(tmp_path, "bench check proximal.py")

    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("page", "file", "most"),
    [
        ("docs/add-a-method.md", "bench_proximal.py", 40),
        ("docs/add-an-edit.md", "bench_truncated.py", 45),
        ("docs/add-a-sequence-method.md", "bench_anchored.py", 60),
        ("docs/add-a-task.md", "photos.py", 60),
        ("docs/add-a-report.md", "bench_ranking.py", 60),
        ("docs/from-idea-to-table.md", "bench_freeze.py", 25),
    ],
)
def test_the_examples_of_the_guides_stay_short(page: str, file: str, most: int) -> None:
    assert len(blocks(page)[file].splitlines()) <= most


@pytest.mark.slow
def test_the_package_of_the_guide_is_found_without_a_plugin_option(tmp_path: Path) -> None:
    site = installed(tmp_path, "docs/add-a-method.md", "bench_proximal.py")

    listed = installed_bench(tmp_path, "bench ls methods", site)
    checked = installed_bench(tmp_path, "bench check proximal", site)

    assert "proximal" in listed.stdout.split()
    assert checked.returncode == 0, checked.stdout


@pytest.mark.slow
def test_the_report_of_the_guide_is_found_and_keeps_the_rules(tmp_path: Path) -> None:
    site = installed(tmp_path, "docs/add-a-report.md", "bench_ranking.py")

    checked = installed_bench(tmp_path, "bench check ranking", site)

    assert checked.returncode == 0, checked.stdout


@pytest.mark.slow
def test_the_task_of_the_guide_is_checked_and_can_be_learnt(tmp_path: Path) -> None:
    parts = blocks("docs/add-a-task.md")
    for name in ("photos.py", "make_photos.py"):
        (tmp_path / name).write_text(parts[name], encoding="utf-8")
    drawing, check, run = (line.removeprefix("$ ") for line in parts["try"].splitlines())

    subprocess.run([sys.executable, *shlex.split(drawing)[1:]], cwd=tmp_path, check=True)
    checked = bench(tmp_path, check)
    ran = bench(tmp_path, f"{run} --sources easy_vqa --limit 20 --set recipe.updates=10 --lanes 0")

    assert checked.returncode == 0, checked.stdout
    assert ran.returncode == 0, ran.stderr
    assert "photos" in ran.stdout


def installed(folder: Path, page: str, module: str) -> Path:
    """Install the package of a page as its reader would, into a folder of its own, and return that folder."""
    parts = blocks(page)
    for name in (module, "pyproject.toml"):
        (folder / name).write_text(parts[name], encoding="utf-8")
    site = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([*install, str(folder)], check=True, capture_output=True)
    return site
