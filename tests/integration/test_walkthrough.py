"""The examples of the three READMEs for plugin authors, executed as written, outside the repository."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)(?: title=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(name: str) -> dict[str, str]:
    """Return a README's fenced blocks by title, or by language where they have none."""
    text = (ROOT / name / "README.md").read_text(encoding="utf-8")
    return {title or language: content for language, title, content in BLOCK.findall(text)}


def bench(folder: Path, line: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command line that starts with bench, as a user in ``folder`` would."""
    words = shlex.split(line)
    assert words[0] == "bench"
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    return subprocess.run(
        [str(Path(sys.executable).with_name("bench")), *words[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=900,
    )


@pytest.mark.ray
def test_the_method_of_the_readme_is_checked_and_reaches_a_leaderboard_row(tmp_path: Path) -> None:
    parts = blocks("methods")
    (tmp_path / "bench_proximal.py").write_text(parts["bench_proximal.py"], encoding="utf-8")

    done = [bench(tmp_path, line.removeprefix("$ ")) for line in parts["try"].splitlines()]

    assert [run.returncode for run in done] == [0, 0], done[-1].stderr
    assert any(line.strip().startswith("proximal") for line in done[-1].stdout.splitlines())


@pytest.mark.ray
def test_the_sequence_method_of_the_readme_is_checked_and_reaches_a_row(tmp_path: Path) -> None:
    parts = blocks("methods")
    (tmp_path / "bench_anchored.py").write_text(parts["bench_anchored.py"], encoding="utf-8")

    done = [bench(tmp_path, line.removeprefix("$ ")) for line in parts["try-sequence"].splitlines()]

    assert [run.returncode for run in done] == [0, 0], done[-1].stderr
    assert any(line.strip().startswith("anchored") for line in done[-1].stdout.splitlines())


@pytest.mark.slow
def test_the_method_of_the_front_page_keeps_the_rules(tmp_path: Path) -> None:
    (tmp_path / "proximal.py").write_text(blocks(".")["python"], encoding="utf-8")

    checked = bench(tmp_path, "bench check proximal.py")

    assert checked.returncode == 0, checked.stdout


def test_the_method_of_the_readme_takes_at_most_40_lines() -> None:
    assert len(blocks("methods")["bench_proximal.py"].splitlines()) <= 40


def test_the_sequence_method_of_the_readme_takes_at_most_60_lines() -> None:
    assert len(blocks("methods")["bench_anchored.py"].splitlines()) <= 60


@pytest.mark.slow
def test_the_package_of_the_readme_is_found_without_a_plugin_option(tmp_path: Path) -> None:
    parts = blocks("methods")
    for name in ("bench_proximal.py", "pyproject.toml"):
        (tmp_path / name).write_text(parts[name], encoding="utf-8")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([*install, str(tmp_path)], check=True, capture_output=True)

    listed = bench(tmp_path, "bench ls methods", site)
    checked = bench(tmp_path, "bench check proximal", site)

    assert "proximal" in listed.stdout.split()
    assert checked.returncode == 0, checked.stdout


@pytest.mark.slow
def test_the_task_of_the_readme_is_checked_and_can_be_learnt(tmp_path: Path) -> None:
    (tmp_path / "light_dark.py").write_text(blocks("tasks")["python"], encoding="utf-8")
    run = "bench run --plugin light_dark.py --targets light_dark --sources easy_vqa --methods lora --ranks 16"

    checked = bench(tmp_path, "bench check light_dark.py")
    ran = bench(tmp_path, f"{run} --limit 20 --set recipe.updates=10 --lanes 0")

    assert checked.returncode == 0, checked.stdout
    assert ran.returncode == 0, ran.stderr
    assert "light_dark" in ran.stdout
